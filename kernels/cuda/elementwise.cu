// Elementwise kernels without strides. All are bound by memory: one pass in items of 16 bytes (for_each.cuh), elements
// after the last whole item one at a time. Broadcast rows and factors are read again by every item, from the cache.
//
// The functions and their limits far from 0 are those of cpu/elementwise.cpp, with CUDA's own exp, erf and sin.

#include <bit>
#include <numbers>

#include "kernels/cuda/for_each.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

constexpr float kFar = 1000;  // functions that have reached their limit there are evaluated no further out

// Written so that NaN passes.
__device__ __forceinline__ float not_below(float x, float low) { return x < low ? low : x; }
__device__ __forceinline__ float within_far(float x) { return x > kFar ? kFar : not_below(x, -kFar); }

// 1 / (1 + e^-x) and 1 / (1 + e^x), their sum is 1. By the processor's own 2^x and 1/x, each within 2 ulp: with the
// accurate ones arithmetic takes as long as the memory.
struct Logistic {
  float value, rest;

  __device__ __forceinline__ explicit Logistic(float x) {
    float exponent = x * -std::numbers::log2e_v<float>;
    exponent = exponent > 127 ? 127 : exponent;  // 1 / 2^127 is 0 here already, 0 * inf would be NaN
    const float power = fast_exp2(exponent);
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(1 + power));
    rest = power * value;
  }
};

// (1 + tanh u) / 2 is the logistic function of 2 u.
struct GeluTanh {
  static constexpr float kScale = 2 * std::numbers::sqrt2_v<float> * std::numbers::inv_sqrtpi_v<float>;
  static constexpr float kCubic = kScale * 0.044715f;

  __device__ static float value(float x) {
    x = not_below(x, -kFar);
    return x * Logistic(x * (kScale + kCubic * (x * x))).value;
  }
  __device__ static float slope(float x) {
    x = within_far(x);
    const Logistic s(x * (kScale + kCubic * (x * x)));
    return s.value + x * s.value * s.rest * (kScale + 3 * kCubic * (x * x));
  }
};

struct Gelu {
  static constexpr float kInverseSqrt2 = 1 / std::numbers::sqrt2_v<float>;
  static constexpr float kDensity = std::numbers::inv_sqrtpi_v<float> * kInverseSqrt2;

  __device__ static float distribution(float x) { return 0.5f + 0.5f * erff(x * kInverseSqrt2); }
  __device__ static float value(float x) {
    x = not_below(x, -kFar);
    return x * distribution(x);
  }
  __device__ static float slope(float x) {
    x = within_far(x);
    return distribution(x) + x * kDensity * expf(-0.5f * x * x);
  }
};

struct Silu {
  __device__ static float value(float x) {
    x = not_below(x, -kFar);
    return x * Logistic(x).value;
  }
  __device__ static float slope(float x) {
    x = within_far(x);
    const Logistic s(x);
    return s.value + x * s.value * s.rest;
  }
};

struct Relu {
  __device__ static float value(float x) { return not_below(x, 0); }
  __device__ static float slope(float x) { return x > 0 ? 1 : not_below(x, 0); }
};

struct ReluSquared {
  __device__ static float value(float x) { return not_below(x, 0) * not_below(x, 0); }
  __device__ static float slope(float x) { return 2 * not_below(x, 0); }
};

struct Sin {
  __device__ static float value(float x) { return sinf(x); }
  __device__ static float slope(float x) { return cosf(x); }
};

struct Exp {
  __device__ static float value(float x) { return expf(x); }
  __device__ static float slope(float x) { return expf(x); }
};

struct Sigmoid {
  __device__ static float value(float x) { return Logistic(x).value; }
  __device__ static float slope(float x) {
    const Logistic s(x);
    return s.value * s.rest;
  }
};

struct Abs {
  __device__ static float value(float x) { return fabsf(x); }
  __device__ static float slope(float x) { return x > 0 ? 1 : x < 0 ? -1 : x * 0; }
};

struct Reciprocal {
  __device__ static float value(float x) { return 1 / x; }
  __device__ static float slope(float x) {
    const float y = 1 / x;
    return -y * y;
  }
};

// Calls body.operator()<F>() with the function.
template <class Body>
void dispatch_unary(Unary function, const Body& body) {
  switch (function) {
    case Unary::gelu_tanh:
      return body.template operator()<GeluTanh>();
    case Unary::gelu:
      return body.template operator()<Gelu>();
    case Unary::silu:
      return body.template operator()<Silu>();
    case Unary::relu:
      return body.template operator()<Relu>();
    case Unary::relu_squared:
      return body.template operator()<ReluSquared>();
    case Unary::sin:
      return body.template operator()<Sin>();
    case Unary::exp:
      return body.template operator()<Exp>();
    case Unary::sigmoid:
      return body.template operator()<Sigmoid>();
    case Unary::abs:
      return body.template operator()<Abs>();
    case Unary::reciprocal:
      return body.template operator()<Reciprocal>();
  }
}

// What functions of two arguments do with them.
template <class F>
struct Forward {
  __device__ static float of(float x, float) { return F::value(x); }
};
template <class F>
struct Backward {
  __device__ static float of(float x, float dy) { return dy * F::slope(x); }
};
struct Sum {
  __device__ static float of(float a, float b) { return a + b; }
};
struct Product {
  __device__ static float of(float a, float b) { return a * b; }
};

// Where arguments come from: read gives elements i to i + count - 1 as loaded, which [j] turns into numbers.

template <class T>
struct Array {
  const T* data;

  template <int N>
  using Values = Loaded<T, N>;
  template <int N>
  __device__ Loaded<T, N> read(int64_t i, int64_t count, bool vector) const {
    return read_some<N>(data + i, count, vector);
  }
};

// Repeats itself; `whole` where its length is a multiple of every item and its address is aligned.
template <class T>
struct Periodic {
  const T* data;
  Divisor period;
  bool whole;

  template <int N>
  using Values = Loaded<T, N>;
  template <int N>
  __device__ Loaded<T, N> read(int64_t i, int64_t count, bool) const {
    int64_t at = period(i).remainder;
    if (whole) return read_some<N>(data + at, N, true);
    Pack<T, N> pack;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      pack.v[j] = j < count ? data[at] : T{};
      if (++at == period.divisor()) at = 0;
    }
    return std::bit_cast<Loaded<T, N>>(pack);
  }
};

// One number: a factor times one in device memory, if there is one.
struct Factor {
  double factor;
  const void* device_factor;
  bool f64;

  struct Number {
    float number;
    __device__ float operator[](int) const { return number; }
  };
  template <int N>
  using Values = Number;
  template <int N>
  __device__ Number read(int64_t, int64_t, bool) const {
    if (device_factor == nullptr) return {static_cast<float>(factor)};
    return {static_cast<float>(factor * (f64 ? *static_cast<const double*>(device_factor)
                                             : double{*static_cast<const float*>(device_factor)}))};
  }
};

struct Nothing {
  template <int N>
  using Values = Nothing;
  template <int N>
  __device__ Nothing read(int64_t, int64_t, bool) const {
    return {};
  }
  __device__ float operator[](int) const { return 0; }
};

// y = F::of(a, b), N elements an item.
template <class F, int N, class Y, class A, class B>
struct Map {
  int64_t n;
  Y* y;
  A a;
  B b;
  bool vector;  // y and a are aligned

  struct Values {
    typename A::template Values<N> a;
    typename B::template Values<N> b;
  };
  __device__ Values read(int64_t item) const {
    const int64_t i = item * N;
    return {a.template read<N>(i, n - i, vector), b.template read<N>(i, n - i, vector)};
  }
  __device__ void write(int64_t item, const Values& values) const {
    const int64_t i = item * N;
    float out[N];
#pragma unroll
    for (int j = 0; j < N; ++j) out[j] = F::of(values.a[j], values.b[j]);
    write_some<N>(y + i, out, n - i, vector);
  }
};

template <class F, int N, class Y, class A, class B>
void map(Stream& stream, const char* kernel, int64_t n, Y* y, const A& a, const B& b, bool vector) {
  for_each(stream, kernel, ceil_div(n, N), Map<F, N, Y, A, B>{n, y, a, b, vector});
}

template <class F>
void binary(Stream& stream, const char* kernel, const Binary& args) {
  const int64_t n = args.y.numel(), period = args.b.numel();
  if (n == 0) return;
  dispatch(args.a.dtype, [&]<class A>() {
    dispatch(args.b.dtype, [&]<class B>() {
      dispatch(args.y.dtype, [&]<class Y>() {
        constexpr int N = kItem<A, B, Y>;
        const A* a = args.a.ptr<A>();
        const B* b = args.b.ptr<B>();
        Y* y = args.y.ptr<Y>();
        const Periodic<B> repeated{b, Divisor(period), period % N == 0 && aligned(16, b)};
        map<F, N>(stream, kernel, n, y, Array<A>{a}, repeated, aligned(16, a, y));
      });
    });
  });
}

// y = bits
template <class T, int N>
struct Filling {
  int64_t n;
  T* y;
  T bits;
  bool vector;

  struct Values {};
  __device__ Values read(int64_t) const { return {}; }
  __device__ void write(int64_t item, Values) const {
    const int64_t first = item * N;
    if (vector && first + N <= n) {
      Pack<T, N> pack;
#pragma unroll
      for (int j = 0; j < N; ++j) pack.v[j] = bits;
      *reinterpret_cast<Pack<T, N>*>(y + first) = pack;
    } else {
      for (int64_t i = first; i < min(n, first + N); ++i) y[i] = bits;
    }
  }
};

template <class T>
void fill_bits(Stream& stream, const View& y, T bits) {
  constexpr int N = kItem<T>;
  const int64_t n = y.numel();
  for_each(stream, "fill", ceil_div(n, N), Filling<T, N>{n, y.ptr<T>(), bits, aligned(16, y.data)});
}

// y = mask ? a : b. Only moves bits, a Unit an item.
template <class Unit>
struct Selection {
  const int32_t* mask;
  const Unit *a, *b;
  Unit* y;
  Divisor row;  // units

  using Values = Unit;
  __device__ Unit read(int64_t item) const {
    const Unit* from = mask[row(item).quotient] != 0 ? a : b;
    return from != nullptr ? from[item] : Unit{};
  }
  __device__ void write(int64_t item, const Unit& unit) const { y[item] = unit; }
};

template <class Unit>
void select_units(Stream& stream, const Select& args) {
  constexpr int64_t kBytes = sizeof(Unit);
  const int64_t units = args.y.numel() * size_of(args.y.dtype) / kBytes;
  for_each(stream, "select", units,
           Selection<Unit>{args.mask.ptr<int32_t>(), args.a.ptr<Unit>(), args.b.ptr<Unit>(), args.y.ptr<Unit>(),
                           Divisor(units / args.mask.numel())});
}

}  // namespace

void fill(Stream& stream, const Fill& args) {
  switch (args.y.dtype) {
    case Dtype::f32:
      return fill_bits(stream, args.y, std::bit_cast<uint32_t>(static_cast<float>(args.value)));
    case Dtype::bf16:
      return fill_bits(stream, args.y, bf16(static_cast<float>(args.value)).bits);
    case Dtype::f64:
      return fill_bits(stream, args.y, std::bit_cast<uint64_t>(args.value));
    case Dtype::i32:
      return fill_bits(stream, args.y, static_cast<uint32_t>(static_cast<int32_t>(args.value)));
  }
}

void unary_forward(Stream& stream, const UnaryForward& args) {
  dispatch(args.x.dtype, [&]<class T>() {
    dispatch_unary(args.function, [&]<class F>() {
      const T* x = args.x.ptr<T>();
      T* y = args.y.ptr<T>();
      map<Forward<F>, kItem<T>>(stream, "unary_forward", args.x.numel(), y, Array<T>{x}, Nothing{}, aligned(16, x, y));
    });
  });
}

void unary_backward(Stream& stream, const UnaryBackward& args) {
  dispatch(args.x.dtype, [&]<class T>() {
    dispatch_unary(args.function, [&]<class F>() {
      const T *x = args.x.ptr<T>(), *dy = args.dy.ptr<T>();
      T* dx = args.dx.ptr<T>();
      map<Backward<F>, kItem<T>>(stream, "unary_backward", args.x.numel(), dx, Array<T>{x}, Array<T>{dy},
                                 aligned(16, x, dy, dx));
    });
  });
}

void add(Stream& stream, const Binary& args) { binary<Sum>(stream, "add", args); }
void mul(Stream& stream, const Binary& args) { binary<Product>(stream, "mul", args); }

void scale(Stream& stream, const Scale& args) {
  const Factor factor{args.factor, args.device_factor.data, args.device_factor.dtype == Dtype::f64};
  dispatch(args.x.dtype, [&]<class X>() {
    dispatch(args.y.dtype, [&]<class Y>() {
      const X* x = args.x.ptr<X>();
      Y* y = args.y.ptr<Y>();
      map<Product, kItem<X, Y>>(stream, "scale", args.x.numel(), y, Array<X>{x}, factor, aligned(16, x, y));
    });
  });
}

void select(Stream& stream, const Select& args) {
  if (args.y.numel() == 0) return;
  const int64_t bytes = size_of(args.y.dtype), row = args.y.numel() / args.mask.numel();
  if (row * bytes % 16 == 0 && aligned(16, args.a.data, args.b.data, args.y.data)) {
    select_units<Pack<uint32_t, 4>>(stream, args);
  } else {
    bytes == 2 ? select_units<uint16_t>(stream, args) : select_units<uint32_t>(stream, args);
  }
}

}  // namespace mara::kernels::cuda
