#pragma once
// Long convolution: the operation the project exists for.

#include <bit>
#include <cmath>
#include <cstdint>

#include "core/view.h"

namespace mara::kernels {

/// causal:   c[l] = sum_{j <= l} k[j] x[l-j]; taps at and beyond L are ignored and get zero gradient.
/// circular: c[l] = sum_j k[j] x[(l-j) mod L], all K taps.
enum class ConvForm : uint8_t { causal, circular };

/// Long convolution with optional gates, per channel d and batch row b:
///   x = gate_in * u;   c = conv(x, k) + skip[d] x;   y = gate_out * c
/// k_reverse makes it bidirectional: it adds sum_j k_reverse[j] x[l+j] (lag 0 included; circular: (l+j) mod L).
/// Reads each input once and writes y once; O(B D L log L) work. Any L >= 1 and any K >= 1.
/// Computed in f32 for f32 and bf16 data, in f64 for f64; a GPU's tensor cores take bf16 data as fp16 with a power of
/// two per row, and sum in f32. An FFT path is causal to rounding, not bit for bit.
struct FftConvForward {
  View u;                  // (D, B, L) f32 | bf16 | f64, last axis stride 1
  View k;                  // (D, K) f32 | f64
  View k_reverse;          // (D, K') f32 | f64, or empty
  View skip;               // (D) f32 | f64, or empty
  View gate_in, gate_out;  // (D, B, L) dtype of u, last axis stride 1, or empty
  View y;                  // (D, B, L) dtype of u, last axis stride 1
  ConvForm form = ConvForm::causal;
  bool general = false;  // by the way that takes every call, to compare the others with

  double flops() const;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("u", u);
    v.in("k", k);
    v.in("k_reverse", k_reverse);
    v.in("skip", skip);
    v.in("gate_in", gate_in);
    v.in("gate_out", gate_out);
    v.out("y", y);
    v.option("form", form);
    v.option("general", general);
  }
};

/// With g = dy * gate_out: dgate_out = dy * c; dx = corr(g, k) + skip g; du = dx * gate_in; dgate_in = dx * u;
/// dk[j] = sum_{b,l} g[l] x[l-j]; dk_reverse[j] = sum_{b,l} g[l] x[l+j]; dskip = sum_{b,l} g x.
/// Saves no spectra: c and the transforms are recomputed from the inputs. Sums over the batch run in order.
struct FftConvBackward {
  View dy;                     // (D, B, L) dtype of u
  View u, k, k_reverse, skip;  // as in the forward
  View gate_in, gate_out;
  View du, dgate_in, dgate_out;  // (D, B, L) dtype of u, or empty
  View dk, dk_reverse, dskip;    // f32 | f64, shapes of k, k_reverse, skip, or empty
  bool accumulate_k = false, accumulate_k_reverse = false, accumulate_skip = false;
  ConvForm form = ConvForm::causal;
  bool general = false;

  double flops() const;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("dy", dy);
    v.in("u", u);
    v.in("k", k);
    v.in("k_reverse", k_reverse);
    v.in("skip", skip);
    v.in("gate_in", gate_in);
    v.in("gate_out", gate_out);
    v.out("du", du);
    v.out("dgate_in", dgate_in);
    v.out("dgate_out", dgate_out);
    v.out("dk", dk, accumulate_k);
    v.out("dk_reverse", dk_reverse, accumulate_k_reverse);
    v.out("dskip", dskip, accumulate_skip);
    v.option("form", form);
    v.option("general", general);
  }
};

/// Operations of one real transform of length L by the right-angle method, for counting work (not for planning).
inline double transform_flops(int64_t length) {
  const double n = static_cast<double>(std::bit_ceil(static_cast<uint64_t>(length)));
  return n * (5.0 * std::log2(n) + 6.0);
}
inline double FftConvForward::flops() const {
  const double rows = static_cast<double>(u.size(0) * u.size(1)), channels = static_cast<double>(u.size(0));
  return transform_flops(u.size(2)) * (2.0 * rows + channels);
}
inline double FftConvBackward::flops() const {
  const double rows = static_cast<double>(u.size(0) * u.size(1)), channels = static_cast<double>(u.size(0));
  return transform_flops(u.size(2)) * ((dgate_out ? 4.0 : 3.0) * rows + 2.0 * channels);
}

}  // namespace mara::kernels
