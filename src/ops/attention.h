#pragma once

#include "core/tensor.h"

namespace mara::ops {

/// Softmax attention on the packed projection (B, L, 3 H C) of queries, keys and values -> (B, L, H C), scores
/// scaled by 1 / sqrt(C); each position sees itself and those before it if `causal`, else all. Tiled with online
/// softmax (Dao et al., 2205.14135): never an (L, L) matrix. Saves qkv, the result and one number per row.
Tensor attention(const Tensor& qkv, int64_t heads, bool causal);

/// The same from elementary ops, with the (L, L) matrix: for tests.
Tensor attention_composed(const Tensor& qkv, int64_t heads, bool causal);

/// Rotary position encoding (Su et al., 2104.09864) of the first `rotary_dim` entries of each query and key head, in
/// interleaved pairs (2i, 2i+1) turned by position * base^(-2i / rotary_dim), positions from `first` on. Saves nothing.
Tensor rotary(const Tensor& qkv, int64_t heads, int64_t rotary_dim, double base, int64_t first = 0);

}  // namespace mara::ops
