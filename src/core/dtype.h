#pragma once
// Element types. A dtype is a runtime value everywhere but inside a kernel.

#include <bit>
#include <cstdint>
#include <string>
#include <utility>

#include "core/error.h"

namespace mara {

/// f64 exists on the CPU only, for gradient checks (the parameter arena included).
enum class Dtype : uint8_t { f32, bf16, f64, i32 };

/// Upper half of an IEEE f32, rounded to nearest even. Storage only: arithmetic widens to float.
struct bf16 {
  uint16_t bits = 0;

  bf16() = default;
  constexpr explicit bf16(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits =
        nan ? static_cast<uint16_t>((u >> 16) | 0x40u) : static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  constexpr explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
  constexpr explicit operator double() const { return static_cast<float>(*this); }
};

/// The type a kernel computes and accumulates in for storage type T: double for double, else float.
template <class T>
struct ComputeType {
  using type = float;
};
template <>
struct ComputeType<double> {
  using type = double;
};
template <class T>
using Compute = typename ComputeType<T>::type;

template <class T>
inline constexpr Dtype dtype_of = Dtype::f32;
template <>
inline constexpr Dtype dtype_of<bf16> = Dtype::bf16;
template <>
inline constexpr Dtype dtype_of<double> = Dtype::f64;
template <>
inline constexpr Dtype dtype_of<int32_t> = Dtype::i32;

constexpr int64_t size_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::bf16:
      return 2;
    case Dtype::f64:
      return 8;
    default:
      return 4;
  }
}

constexpr bool is_float(Dtype dtype) { return dtype != Dtype::i32; }

/// Accumulators, statistics and parameter gradients of activations of this dtype: f64 for f64, else f32.
constexpr Dtype compute_dtype(Dtype dtype) { return dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32; }

std::string to_string(Dtype dtype);
Dtype parse_dtype(std::string_view name);

/// Calls f.template operator()<T>() with the storage type of a floating dtype.
template <class F>
decltype(auto) dispatch_float(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::f64:
      return f.template operator()<double>();
    case Dtype::bf16:
      return f.template operator()<bf16>();
    default:
      return f.template operator()<float>();
  }
}

}  // namespace mara
