#pragma once

#include <functional>

#include "core/tensor.h"

namespace mara::nn {

/// Long convolution i of u * gate_in, times gate_out if defined; all (C, N, L).
using GatedConvolution =
    std::function<Tensor(int64_t i, const Tensor& u, const Tensor& gate_in, const Tensor& gate_out)>;

/// The head structure of H3 (Fu et al., 2212.14052) and MultiHyena (Massaroli et al., 2310.18780). q, k and v
/// (D, B, L) are `heads` groups of d = D / heads channels; head h remembers every product of an entry of its k and one
/// of its v with one filter, and q reads:
///   o[h d + j] = sum_i q[h d + i] conv_h(k[h d + i] v[h d + j])
/// Calls convolve(i, v, k_i, q_i) for i = 0 .. d-1 on (heads, d B, L), where k_i and q_i are entry i of each head,
/// repeated for every j. With d = 1 that is one gated convolution and nothing else. The d D products are never there
/// at once, but backward keeps both gates of every i: 2 d D B L numbers for d > 1.
Tensor outer_product_heads(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads,
                           const GatedConvolution& convolve);

}  // namespace mara::nn
