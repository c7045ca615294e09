// Elementwise kernels without strides: one pass over memory each.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/common/numeric.h"
#include "kernels/cpu/rows.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

// Functions that go to 0 or x far from 0 are evaluated no further out than this: there they have reached that limit
// in every type, and products like x (1 - sigmoid(x)) would become inf * 0.
template <class C>
inline constexpr C kFar = 1000;

// Written so that NaN passes.
template <class C>
C not_below(C x, C low) {
  return x < low ? low : x;
}
template <class C>
C within_far(C x) {
  return x > kFar<C> ? kFar<C> : not_below(x, -kFar<C>);
}

// Each function of Unary with its derivative.

// (1 + tanh u) / 2 = sigmoid(2 u): one exponential, and no cancellation for negative x.
struct GeluTanh {
  template <class C>
  static constexpr C kScale = 2 * std::numbers::sqrt2_v<C>* std::numbers::inv_sqrtpi_v<C>;
  template <class C>
  static constexpr C kCubic = kScale<C>* C(0.044715);

  template <class C>
  static C value(C x) {
    x = not_below(x, -kFar<C>);
    return x * numeric::sigmoid(x * (kScale<C> + kCubic<C> * (x * x)));
  }
  template <class C>
  static C slope(C x) {
    x = within_far(x);
    const C s = numeric::sigmoid(x * (kScale<C> + kCubic<C> * (x * x)));
    return s + x * s * (1 - s) * (kScale<C> + 3 * kCubic<C> * (x * x));
  }
};

struct Gelu {
  template <class C>
  static C distribution(C x) {
    return C(0.5) + C(0.5) * numeric::erf(x / std::numbers::sqrt2_v<C>);
  }
  template <class C>
  static C value(C x) {
    x = not_below(x, -kFar<C>);
    return x * distribution(x);
  }
  template <class C>
  static C slope(C x) {
    x = within_far(x);
    constexpr C kDensity = std::numbers::inv_sqrtpi_v<C> / std::numbers::sqrt2_v<C>;
    return distribution(x) + x * kDensity * numeric::exp(C(-0.5) * x * x);
  }
};

struct Silu {
  template <class C>
  static C value(C x) {
    x = not_below(x, -kFar<C>);
    return x * numeric::sigmoid(x);
  }
  template <class C>
  static C slope(C x) {
    x = within_far(x);
    const C s = numeric::sigmoid(x);
    return s + x * s * (1 - s);
  }
};

struct Relu {
  template <class C>
  static C value(C x) {
    return not_below(x, C(0));
  }
  template <class C>
  static C slope(C x) {
    return x > 0 ? C(1) : not_below(x, C(0));
  }
};

struct ReluSquared {
  template <class C>
  static C value(C x) {
    return not_below(x, C(0)) * not_below(x, C(0));
  }
  template <class C>
  static C slope(C x) {
    return 2 * not_below(x, C(0));
  }
};

struct Sin {
  template <class C>
  static C value(C x) {
    return numeric::sin(x);
  }
  template <class C>
  static C slope(C x) {
    return numeric::cos(x);
  }
};
struct SinOfFarAngle {
  template <class C>
  static C value(C x) {
    return std::sin(x);
  }
  template <class C>
  static C slope(C x) {
    return std::cos(x);
  }
};

struct Exp {
  template <class C>
  static C value(C x) {
    return numeric::exp(x);
  }
  template <class C>
  static C slope(C x) {
    return numeric::exp(x);
  }
};

struct Sigmoid {
  template <class C>
  static C value(C x) {
    return numeric::sigmoid(x);
  }
  template <class C>
  static C slope(C x) {
    const C s = numeric::sigmoid(x);
    return s * (1 - s);
  }
};

struct Abs {
  template <class C>
  static C value(C x) {
    return std::fabs(x);
  }
  template <class C>
  static C slope(C x) {
    return x > 0 ? C(1) : x < 0 ? C(-1) : x * 0;
  }
};

struct Reciprocal {
  template <class C>
  static C value(C x) {
    return 1 / x;
  }
  template <class C>
  static C slope(C x) {
    const C y = 1 / x;
    return -y * y;
  }
};

template <class T>
bool has_far_angle(const T* x, int64_t n) {
  int far = 0;
#pragma omp simd reduction(| : far)
  for (int64_t i = 0; i < n; ++i) far |= std::fabs(static_cast<Compute<T>>(x[i])) > numeric::kAngleLimit;
  return far != 0;
}

// Calls body.operator()<F>() with the function, chosen for the n arguments x.
template <class T, class Body>
void dispatch_unary(Unary function, const T* x, int64_t n, const Body& body) {
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
      return has_far_angle(x, n) ? body.template operator()<SinOfFarAngle>() : body.template operator()<Sin>();
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

// Binary kernels work in blocks of this many elements, converted to the compute type where they are stored in
// another: one loop per operation instead of one for each of the 27 combinations of dtypes. A block stays in L1.
constexpr int64_t kBlock = 1024;

// Elements [offset, offset + count) of v as C: in place if they are stored so, else converted into buffer.
template <class C>
const C* widen(const View& v, int64_t offset, int64_t count, C* buffer) {
  if (v.dtype == dtype_of<C>) return v.ptr<C>() + offset;
  dispatch_float(v.dtype, [&]<class T>() { copy_row(v.ptr<T>() + offset, buffer, count); });
  return buffer;
}

template <class C, class Op>
void apply_binary(Stream& stream, const Binary& args, const Op& op) {
  const int64_t n = args.y.numel();
  if (n == 0) return;
  View b = args.b;
  int64_t period = b.numel();
  // A short b is repeated, so that blocks are long however short it is.
  const int64_t repeats = period < n ? std::max<int64_t>(1, kBlock / period) : 1;
  const auto repeated = stream.scratch<C>(repeats > 1 ? repeats * period : 0);
  if (repeats > 1) {
    std::copy_n(widen(b, 0, period, repeated.get()), period, repeated.get());
    for (int64_t i = period; i < repeats * period; ++i) repeated[i] = repeated[i - period];
    period *= repeats;
    b.data = repeated.get();
    b.dtype = dtype_of<C>;
  }
  parallel_chunks(n, kGrain, [&](int64_t begin, int64_t end) {
    C a_buffer[kBlock], b_buffer[kBlock], y_buffer[kBlock];
    for (int64_t i = begin, count = 0; i < end; i += count) {
      const int64_t at = i % period;
      count = std::min({kBlock, end - i, period - at});
      const C* a_block = widen(args.a, i, count, a_buffer);
      const C* b_block = widen(b, at, count, b_buffer);
      C* y_block = args.y.dtype == dtype_of<C> ? args.y.ptr<C>() + i : y_buffer;
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) y_block[j] = op(a_block[j], b_block[j]);
      if (y_block == y_buffer) {
        dispatch_float(args.y.dtype, [&]<class T>() { copy_row(y_block, args.y.ptr<T>() + i, count); });
      }
    }
  });
}

template <class Op>
void binary(Stream& stream, const Binary& args, const Op& op) {
  const bool f64 = args.a.dtype == Dtype::f64 || args.b.dtype == Dtype::f64;
  f64 ? apply_binary<double>(stream, args, op) : apply_binary<float>(stream, args, op);
}

// Only moves bits: T is any type of the element's size.
template <class T>
void select_as(const Select& args) {
  const int64_t entries = args.mask.numel();
  if (entries == 0) return;
  const int64_t row = args.y.numel() / entries;
  const int32_t* mask = args.mask.ptr<int32_t>();
  const T *a = args.a.ptr<T>(), *b = args.b.ptr<T>();
  T* y = args.y.ptr<T>();
  parallel_chunks(entries, grain_for(row), [&](int64_t begin, int64_t end) {
    if (row == 1) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        const T if_set = a != nullptr ? a[i] : 0, if_clear = b != nullptr ? b[i] : 0;
        y[i] = mask[i] != 0 ? if_set : if_clear;
      }
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      const T* from = mask[i] != 0 ? a : b;
      if (from != nullptr) {
        std::copy_n(from + i * row, row, y + i * row);
      } else {
        std::fill_n(y + i * row, row, T{0});
      }
    }
  });
}

}  // namespace

void fill(Stream&, const Fill& args) {
  const auto run = [&]<class T>() {
    T* y = args.y.ptr<T>();
    parallel_chunks(args.y.numel(), kGrain, [&](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) put(y[i], args.value);
    });
  };
  args.y.dtype == Dtype::i32 ? run.operator()<int32_t>() : dispatch_float(args.y.dtype, run);
}

void unary_forward(Stream&, const UnaryForward& args) {
  dispatch_float(args.x.dtype, [&]<class T>() {
    parallel_chunks(args.x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      const T* x = args.x.ptr<T>() + begin;
      T* y = args.y.ptr<T>() + begin;
      dispatch_unary(args.function, x, end - begin, [&]<class F>() {
#pragma omp simd
        for (int64_t i = 0; i < end - begin; ++i) put(y[i], F::value(static_cast<Compute<T>>(x[i])));
      });
    });
  });
}

void unary_backward(Stream&, const UnaryBackward& args) {
  dispatch_float(args.x.dtype, [&]<class T>() {
    using C = Compute<T>;
    parallel_chunks(args.x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      const T *x = args.x.ptr<T>() + begin, *dy = args.dy.ptr<T>() + begin;
      T* dx = args.dx.ptr<T>() + begin;
      dispatch_unary(args.function, x, end - begin, [&]<class F>() {
#pragma omp simd
        for (int64_t i = 0; i < end - begin; ++i) {
          put(dx[i], static_cast<C>(dy[i]) * F::slope(static_cast<C>(x[i])));
        }
      });
    });
  });
}

void add(Stream& stream, const Binary& args) {
  binary(stream, args, [](auto a, auto b) { return a + b; });
}

void mul(Stream& stream, const Binary& args) {
  binary(stream, args, [](auto a, auto b) { return a * b; });
}

void scale(Stream&, const Scale& args) {
  double factor = args.factor;
  if (args.device_factor) {
    factor *=
        args.device_factor.dtype == Dtype::f64 ? *args.device_factor.ptr<double>() : *args.device_factor.ptr<float>();
  }
  dispatch_float(args.x.dtype, [&]<class X>() {
    dispatch_float(args.y.dtype, [&]<class Y>() {
      const auto c = static_cast<Common<X, Y>>(factor);
      parallel_chunks(args.x.numel(), kGrain, [&](int64_t begin, int64_t end) {
        const X* x = args.x.ptr<X>();
        Y* y = args.y.ptr<Y>();
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) put(y[i], c * static_cast<Common<X, Y>>(x[i]));
      });
    });
  });
}

void select(Stream&, const Select& args) {
  switch (size_of(args.y.dtype)) {
    case 2:
      return select_as<uint16_t>(args);
    case 4:
      return select_as<uint32_t>(args);
    default:
      return select_as<uint64_t>(args);
  }
}

}  // namespace mara::kernels::cpu
