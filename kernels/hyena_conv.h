#pragma once
// The Hyena operator of order 2 (Poli et al., 2302.10866), from the projections of the sequence to what is projected
// back.

#include <bit>

#include "kernels/fft_conv.h"

namespace mara::kernels {

/// Where one kernel of a GPU of capability 9.0 or later serves the forward, and for rows of up to 4096 the backward,
/// faster than their parts: rows at multiples of 16 bytes that fill a transform. Beyond the end of others x is what the
/// biases make of nothing, and where that is large its rounding errors would spread over the row.
inline bool hyena_in_one_kernel(Dtype dtype, int64_t length, int64_t taps) {
  return dtype == Dtype::bf16 && std::has_single_bit(static_cast<uint64_t>(length)) && 1024 <= length &&
         length <= 8192 && taps <= 4;
}

/// z's channels are x_0, x_1 and v, D of each. With p their short convolutions (short_conv.h), per channel d:
///   x = p_1 p_v;   c = conv(x, k) + skip[d] x;   y = p_0 c
/// causal, with the accuracy of fft_conv. A way that does it in one pass reads z once and writes y once, and rounds
/// nothing between to the dtype of z, which others do with p.
struct HyenaConvForward {
  View z;                 // (3 D, B, L) f32 | bf16 | f64, last axis stride 1
  View short_weight;      // (3 D, T) f32 | f64, T <= 64, the last tap multiplies the current sample
  View short_bias;        // (3 D) f32 | f64, or empty
  View input_bias;        // (3 D) f32 | f64, or empty: added to z within the sequence
  View k;                 // (D, K) f32 | f64
  View skip;              // (D) f32 | f64, or empty
  View y;                 // (D, B, L) dtype of z, last axis stride 1
  bool composed = false;  // by the kernels it is made of, to compare with

  double flops() const;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("z", z);
    v.in("short_weight", short_weight);
    v.in("short_bias", short_bias);
    v.in("input_bias", input_bias);
    v.in("k", k);
    v.in("skip", skip);
    v.out("y", y);
    v.option("composed", composed);
  }
};

/// Gradients as in fft_conv.h and short_conv.h. Nothing of the forward is kept: p is made again from z.
struct HyenaConvBackward {
  View dy, z;
  View short_weight, short_bias, input_bias;
  View k, skip;
  View dz;                                                  // (3 D, B, L) dtype of z, or empty
  View dshort_weight, dshort_bias, dinput_bias, dk, dskip;  // f32 | f64, shapes of the parameters, or empty
  bool accumulate_short_weight = false, accumulate_short_bias = false, accumulate_input_bias = false;
  bool accumulate_k = false, accumulate_skip = false;
  bool composed = false;

  double flops() const;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("dy", dy);
    v.in("z", z);
    v.in("short_weight", short_weight);
    v.in("short_bias", short_bias);
    v.in("input_bias", input_bias);
    v.in("k", k);
    v.in("skip", skip);
    v.out("dz", dz);
    v.out("dshort_weight", dshort_weight, accumulate_short_weight);
    v.out("dshort_bias", dshort_bias, accumulate_short_bias);
    v.out("dinput_bias", dinput_bias, accumulate_input_bias);
    v.out("dk", dk, accumulate_k);
    v.out("dskip", dskip, accumulate_skip);
    v.option("composed", composed);
  }
};

inline double HyenaConvForward::flops() const { return FftConvForward{.u = y}.flops(); }
inline double HyenaConvBackward::flops() const { return FftConvBackward{.u = dy, .dgate_out = dy}.flops(); }

}  // namespace mara::kernels
