#pragma once

#include <span>
#include <vector>

#include "core/tensor.h"
#include "kernels/fft_conv.h"

namespace mara::ops {

using kernels::ConvForm;

/// What a long convolution may have besides input and filter; all may be absent.
struct FftConvOptions {
  Tensor reverse;   // (D, K') f32 | f64: anti-causal taps, lag 0 included
  Tensor skip;      // (D) f32 | f64: adds skip * x
  Tensor gate_in;   // (D, B, L): x = gate_in * u
  Tensor gate_out;  // (D, B, L): y = gate_out * c
  ConvForm form = ConvForm::causal;
  Tensor past;  // (D, B, S) dtype of u: x before the first position, of which K - 1 are felt; causal, no reverse
};

/// y = gate_out * (conv(gate_in * u, filter) + skip * gate_in * u), see kernels/fft_conv.h for the exact sums.
/// u (D, B, L) f32, bf16 or f64; filter (D, K) f32 (f64 with f64), any L and K. Saves its inputs only: spectra and
/// the convolution are recomputed in backward. Causal to rounding, not bit for bit.
///
/// With a past, a sequence may come in pieces, each with the last K - 1 of x = gate_in * u before it: they give what
/// the whole sequence does. It costs a copy of x and of the result, and gates that are passes of their own.
Tensor fft_conv(const Tensor& u, const Tensor& filter, const FftConvOptions& options = {});

/// fft_conv of every document on its own: rows of u (D, B, L) hold several, one after the other, which begin at
/// `starts`, ascending positions of the B L of all rows; a row's first position begins one in any case. Causal, with or
/// without a reverse filter. Documents are copied to rows of a power of two and convolved by length, so that the work
/// and the memory follow the starts: it cannot be part of a step that is recorded once and replayed.
Tensor fft_conv_packed(const Tensor& u, const Tensor& filter, std::span<const int64_t> starts,
                       const FftConvOptions& options = {});

/// Taps (D, K) for lags -1, -2, ... as `reverse` wants them, which starts at lag 0: [0, t[0], ..., t[K-2]]. The
/// convention of bidirectional layers (S4, LongConv, Monarch): the two filters do not both weigh the same position.
Tensor shifted_by_one(const Tensor& taps);

/// Taps (D, L) and reverse taps (D, L), as `reverse` wants them.
struct TwoSidedFilter {
  Tensor filter, reverse;
};

/// A filter (D, K), for rows of L >= K, without the frequencies that are not kept: bin k of L + 1, at k / 2L cycles per
/// position, of the real transform of the filter with zeros up to 2L. Such a filter is not causal: it must run with its
/// reverse taps, and every output sees the whole row. It is a circular convolution of period 2L with the response of
/// the kept bins, which takes O(L) work on the host for each run of them. Frequency-sparse convolution, Fu et al. 2023,
/// arXiv 2311.05908.
TwoSidedFilter frequency_masked(const Tensor& filter, const std::vector<bool>& keep);

/// The same for the bins that convolutions have on tensor cores, those of the right-angle transform over the `length` L
/// of rows: bin f of L at (f - 1/4) / L cycles per position, R(h)[f] = sum_n h[n] exp(-2 pi i (f - 1/4) n / L). Kept by
/// their most significant digit, f if keep[f n / L], n = keep.size(), which divides L. A low pass keeps as many digits
/// at the end as at the beginning, since bins f and L - f have opposite frequencies but for half a bin. Rows see Re
/// R^-1(keep R(h) R(x)), which for any mask is a filter with lags on both sides. No kernel skips what is not kept.
TwoSidedFilter monarch_masked(const Tensor& filter, int64_t length, const std::vector<bool>& keep);

/// fft_conv from elementary ops, a product with the (L, L) Toeplitz matrix of each channel: for tests, small L.
Tensor fft_conv_composed(const Tensor& u, const Tensor& filter, const FftConvOptions& options = {});

}  // namespace mara::ops
