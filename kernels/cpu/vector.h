#pragma once
// SIMD by GCC's vector extensions: one source for AVX-512, AVX2 and f32 and f64. A vector is a plain arithmetic type;
// vector * scalar broadcasts.

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/dtype.h"

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#define MARA_MASKED_VECTORS
#endif

#define MARA_INLINE inline __attribute__((always_inline))

namespace mara::kernels::cpu {

#ifdef MARA_MASKED_VECTORS
inline constexpr int kVectorBytes = 64;
#else
inline constexpr int kVectorBytes = 32;
#endif

namespace detail {

template <class T, int kBytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(kBytes)));
};

}  // namespace detail

/// kLanes<T> values of T, T being float, double or an integer type.
template <class T>
using Vec = typename detail::VectorOf<T, kVectorBytes>::type;
template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

/// The value, in a register from here on; GCC would rather load it again for each use.
template <class V>
MARA_INLINE V in_register(V value) {
#ifdef __x86_64__
  asm("" : "+v"(value));
#endif
  return value;
}

namespace detail {

using Half = typename VectorOf<uint16_t, kVectorBytes / 2>::type;

MARA_INLINE Vec<float> widen_bf16(Half bits) {
  return std::bit_cast<Vec<float>>(__builtin_convertvector(bits, Vec<uint32_t>) << 16);
}
MARA_INLINE Half round_to_bf16(Vec<float> value) {  // bf16(float), in lanes
  const auto u = std::bit_cast<Vec<uint32_t>>(value);
  const Vec<uint32_t> rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const Vec<uint32_t> nan = (u >> 16) | 0x40u;
  return __builtin_convertvector((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded, Half);
}

}  // namespace detail

/// kLanes values from memory of any alignment, widened to the compute type.
template <class T>
MARA_INLINE Vec<Compute<T>> load(const T* from) {
  if constexpr (std::is_same_v<T, bf16>) {
    detail::Half bits;
    std::memcpy(&bits, from, sizeof bits);
    return detail::widen_bf16(bits);
  } else {
    Vec<T> out;
    std::memcpy(&out, from, sizeof out);
    return out;
  }
}

template <class T>
MARA_INLINE void store(T* to, Vec<Compute<T>> value) {
  if constexpr (std::is_same_v<T, bf16>) {
    const detail::Half bits = detail::round_to_bf16(value);
    std::memcpy(static_cast<void*>(to), &bits, sizeof bits);
  } else {
    std::memcpy(to, &value, sizeof value);
  }
}

/// The first `count` lanes, 0 in the others; nothing beyond them is touched. Any count, negative ones included.
template <class T>
MARA_INLINE Vec<Compute<T>> load(const T* from, int64_t count) {
  if (count >= kLanes<Compute<T>>) [[likely]]
    return load(from);
#ifdef MARA_MASKED_VECTORS
  const uint32_t mask = count > 0 ? (1u << count) - 1 : 0;
  if constexpr (std::is_same_v<T, bf16>) {
    const __m256i bits = _mm256_maskz_loadu_epi16(static_cast<__mmask16>(mask), from);
    return detail::widen_bf16(std::bit_cast<detail::Half>(bits));
  } else if constexpr (std::is_same_v<T, float>) {
    return std::bit_cast<Vec<float>>(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from));
  } else {
    return std::bit_cast<Vec<double>>(_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), from));
  }
#else
  std::array<T, kLanes<Compute<T>>> lanes{};
  for (int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  return load(lanes.data());
#endif
}
template <class T>
MARA_INLINE void store(T* to, Vec<Compute<T>> value, int64_t count) {
  if (count >= kLanes<Compute<T>>) [[likely]]
    return store(to, value);
#ifdef MARA_MASKED_VECTORS
  const uint32_t mask = count > 0 ? (1u << count) - 1 : 0;
  if constexpr (std::is_same_v<T, bf16>) {
    _mm256_mask_storeu_epi16(to, static_cast<__mmask16>(mask), std::bit_cast<__m256i>(detail::round_to_bf16(value)));
  } else if constexpr (std::is_same_v<T, float>) {
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>(mask), std::bit_cast<__m512>(value));
  } else {
    _mm512_mask_storeu_pd(to, static_cast<__mmask8>(mask), std::bit_cast<__m512d>(value));
  }
#else
  std::array<T, kLanes<Compute<T>>> lanes;
  store(lanes.data(), value);
  for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
#endif
}

/// The lanes added up, in a fixed order.
template <class T>
MARA_INLINE T sum_lanes(Vec<T> value) {
  std::array<T, kLanes<T>> lanes;
  store(lanes.data(), value);
  for (int width = kLanes<T> / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

namespace detail {

// Shuffles of two vectors that cost one instruction; lane i of the result is lane at(i) of (a, b).
template <class T>
struct Interleave {  // runs of `width` lanes, alternately from a and b, within each 16 bytes
  int width;
  bool high;
  constexpr int at(int i) const {
    constexpr int kQuad = 16 / static_cast<int>(sizeof(T));
    const int run = i % kQuad / width;
    const int source = i / kQuad * kQuad + (high ? kQuad / 2 : 0) + run / 2 * width + i % width;
    return run % 2 == 0 ? source : source + kLanes<T>;
  }
};
template <class T>
struct EveryOther {  // the even or the odd 16-byte parts of a, then those of b
  bool odd;
  constexpr int at(int i) const {
    constexpr int kQuad = 16 / static_cast<int>(sizeof(T));
    return i / kQuad * 2 * kQuad + (odd ? kQuad : 0) + i % kQuad;
  }
};

template <auto kPattern, class V>
MARA_INLINE V shuffle(V a, V b) {
  return [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) __attribute__((always_inline)) {
    return __builtin_shufflevector(a, b, kPattern.at(kIndex)...);
  }
  (std::make_integer_sequence<int, static_cast<int>(sizeof(V) / sizeof(a[0]))>{});
}

template <class T, int kDistance>
MARA_INLINE void gather_parts(Vec<T> (&row)[kLanes<T>]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T> / 2; ++i) {
    Vec<T>&low = row[i / kDistance * 2 * kDistance + i % kDistance], &high = *(&low + kDistance);
    const Vec<T> a = low, b = high;
    low = shuffle<EveryOther<T>{false}>(a, b);
    high = shuffle<EveryOther<T>{true}>(a, b);
  }
}

}  // namespace detail

/// Transposes the square of kLanes vectors: log2(kLanes) shuffles per vector.
template <class T>
MARA_INLINE void transpose(Vec<T> (&row)[kLanes<T>]) {
  using V = Vec<T>;
  using detail::Interleave, detail::shuffle;
  constexpr int kQuad = 16 / static_cast<int>(sizeof(T)), kQuads = kVectorBytes / 16, kRows = kLanes<T>;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; i += 2) {
    const V a = row[i], b = row[i + 1];
    row[i] = shuffle<Interleave<T>{1, false}>(a, b);
    row[i + 1] = shuffle<Interleave<T>{1, true}>(a, b);
  }
  if constexpr (kQuad == 4) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; i += 4) {
      const V a = row[i], b = row[i + 1], c = row[i + 2], d = row[i + 3];
      row[i] = shuffle<Interleave<T>{2, false}>(a, c);
      row[i + 1] = shuffle<Interleave<T>{2, true}>(a, c);
      row[i + 2] = shuffle<Interleave<T>{2, false}>(b, d);
      row[i + 3] = shuffle<Interleave<T>{2, true}>(b, d);
    }
  }
  // Every 16 bytes are transposed now: part p of row[kQuad i + c] is column kQuad p + c of rows kQuad i and following.
  if constexpr (kQuads == 4) detail::gather_parts<T, kQuad>(row);
  detail::gather_parts<T, kRows / 2>(row);
}

}  // namespace mara::kernels::cpu
