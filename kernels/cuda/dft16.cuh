#pragma once
// Discrete transforms of 4 and 16 points in f32, in a thread's registers.

#include <cuda_runtime_api.h>

namespace mara::kernels::cuda {

__device__ __forceinline__ float2 operator+(float2 a, float2 b) { return {a.x + b.x, a.y + b.y}; }
__device__ __forceinline__ float2 operator-(float2 a, float2 b) { return {a.x - b.x, a.y - b.y}; }
__device__ __forceinline__ float2 operator*(float2 a, float2 b) {
  return {fmaf(a.x, b.x, -(a.y * b.y)), fmaf(a.x, b.y, a.y * b.x)};
}
__device__ __forceinline__ float2 conj(float2 a) { return {a.x, -a.y}; }

/// One in 4 turns to the right, or to the left with kConj.
template <bool kConj>
__device__ __forceinline__ float2 quarter(float2 a) {
  return kConj ? float2{-a.y, a.x} : float2{a.y, -a.x};
}
template <bool kConj>
__device__ __forceinline__ void dft4(float2& a, float2& b, float2& c, float2& d) {
  const float2 even = a + c, odd = b + d, first = a - c, second = quarter<kConj>(b - d);
  a = even + odd, c = even - odd, b = first + second, d = first - second;
}
/// x[k] = sum_n e(-+ k n / 16) x[n], in place.
template <bool kConj>
__device__ __forceinline__ void dft16(float2 (&x)[16]) {
  constexpr float kCos[10] = {
      1, 0.92387953251128674f, 0.70710678118654752f, 0.38268343236508977f, 0, 0, -0.70710678118654752f, 0,
      0, -0.92387953251128674f};
  constexpr float kSin[10] = {
      0, 0.38268343236508977f, 0.70710678118654752f, 0.92387953251128674f, 1, 0, 0.70710678118654752f, 0,
      0, -0.38268343236508977f};
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    dft4<kConj>(x[n], x[4 + n], x[8 + n], x[12 + n]);
#pragma unroll
    for (int k = 1; k < 4; ++k) {
      if (n > 0) x[4 * k + n] = x[4 * k + n] * float2{kCos[k * n], kConj ? kSin[k * n] : -kSin[k * n]};
    }
  }
  float2 y[16];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    dft4<kConj>(x[4 * k], x[4 * k + 1], x[4 * k + 2], x[4 * k + 3]);
#pragma unroll
    for (int i = 0; i < 4; ++i) y[k + 4 * i] = x[4 * k + i];
  }
#pragma unroll
  for (int i = 0; i < 16; ++i) x[i] = y[i];
}

}  // namespace mara::kernels::cuda
