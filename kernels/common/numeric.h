#pragma once
// Elementary functions for loops: the f32 versions are branch-free polynomials, a few ulp from exact, that compilers
// vectorise (a call into the C library costs ten times as much); the f64 versions are the library's, for references
// and gradient checks. All return NaN for NaN. The coefficients are weighted minimax fits made for this file; the
// error beside each is the fit's, before rounding.

#include <bit>
#include <cmath>
#include <cstdint>

namespace mara::numeric {

namespace detail {

/// Adding it rounds a float below 2^22 in magnitude to an integer, which then stands in the sum's low bits.
inline constexpr float kRounder = 0x1.8p23f;

inline float power_of_two(uint32_t exponent) { return std::bit_cast<float>((exponent + 127u) << 23); }

inline float copy_sign(float magnitude, float sign) {
  return std::bit_cast<float>((std::bit_cast<uint32_t>(magnitude) & 0x7fffffffu) |
                              (std::bit_cast<uint32_t>(sign) & 0x80000000u));
}

}  // namespace detail

/// Overflows to inf above 88.7, denormal below -87.3, 0 below -104. Error below 1e-7, relative.
inline float exp(float x) {
  x = x < -105.0f ? -105.0f : x;
  x = x > 89.0f ? 89.0f : x;
  // x = n ln 2 + r; the first part of ln 2 has 9 bits, so n times it is exact.
  const float shifted = x * 1.44269504f + detail::kRounder;
  const float n = shifted - detail::kRounder;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.395060215e-3f;  // (e^r - 1 - r) / r^2 on |r| <= ln 2 / 2: 3e-9
  p = p * r + 8.368953131e-3f;
  p = p * r + 4.166620597e-2f;
  p = p * r + 1.666651815e-1f;
  p = p * r + 0.5f;
  p = (p * r) * r + r + 1.0f;
  // 2^n in two factors: n reaches from -151 to 128, further than the exponent of a normal number.
  const int32_t exponent =
      static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(detail::kRounder));
  const int32_t half = exponent >> 1;
  return p * detail::power_of_two(static_cast<uint32_t>(half)) *
         detail::power_of_two(static_cast<uint32_t>(exponent - half));
}
inline double exp(double x) { return std::exp(x); }

/// 1 / (1 + e^-x)
inline float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }
inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

/// Error below 2e-7.
inline float erf(float x) {
  const float a = std::fabs(x);
  const float square = a * a;
  float near = -5.631443346e-4f;  // erf(a) / a on a < 1: 4e-8
  near = near * square + 4.917557351e-3f;
  near = near * square - 2.671131678e-2f;
  near = near * square + 1.128018051e-1f;
  near = near * square - 3.761232495e-1f;
  near = near * square + 1.128379107f;
  // 1 - erf(4) = 1.5e-8 is nothing in f32.
  const float b = a > 4.0f ? 4.0f : a;
  float far = -1.876047609e-4f;  // -log(1 - erf(b)) on 1 <= b <= 4: 1e-9 of erf
  far = far * b + 2.960113809e-3f;
  far = far * b - 2.188964002e-2f;
  far = far * b + 1.032181978e-1f;
  far = far * b + 6.380122304e-1f;
  far = far * b + 1.127171636f;
  far = far * b + 3.205744142e-4f;
  const float magnitude = a < 1.0f ? near * a : 1.0f - exp(-far);
  return detail::copy_sign(magnitude, x);
}
inline double erf(double x) { return std::erf(x); }

/// The f32 versions of sin and cos hold for |x| <= kAngleLimit only; beyond, use the C library.
inline constexpr float kAngleLimit = 1e4f;

namespace detail {

/// sin(x + quarters pi/2)
inline float sin_of_quarters(float x, uint32_t quarters) {
  // x = n pi/2 + r. The first two parts of pi/2 have 8 and 9 bits, so n (at most 13) times them is exact.
  const float shifted = x * 0.636619772f + kRounder;
  const float n = shifted - kRounder;
  const float r = ((x - n * 1.5703125f) - n * 4.8351287841796875e-4f) - n * 3.139164786504813e-7f;
  const float square = r * r;
  float sine = -1.951463200e-4f;  // (sin r - r) / r^3 on |r| <= pi/4: 4e-9
  sine = sine * square + 8.332155645e-3f;
  sine = sine * square - 1.666665524e-1f;
  sine = (sine * square) * r + r;
  float cosine = 2.443241283e-5f;  // (cos r - 1 + r^2/2) / r^4: 1e-10
  cosine = cosine * square - 1.388730947e-3f;
  cosine = cosine * square + 4.166664556e-2f;
  cosine = (cosine * square) * square + (1.0f - 0.5f * square);
  const uint32_t quadrant = std::bit_cast<uint32_t>(shifted) + quarters;
  const float value = (quadrant & 1u) != 0 ? cosine : sine;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ ((quadrant & 2u) << 30));
}

}  // namespace detail

/// Error below 1e-7, absolute.
inline float sin(float x) { return detail::sin_of_quarters(x, 0); }
inline double sin(double x) { return std::sin(x); }
inline float cos(float x) { return detail::sin_of_quarters(x, 1); }
inline double cos(double x) { return std::cos(x); }

}  // namespace mara::numeric
