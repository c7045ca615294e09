#include "kernels/elementwise.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "compare.h"
#include "devices.h"
#include "kernels/common/numeric.h"
#include "kernels/kernels.h"
#include "threads.h"

namespace mara::kernels {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
const std::vector<int64_t> kSizes = {1, 3, 17, 1000, 65537};

double reference(Unary function, double x) {
  switch (function) {
    case Unary::gelu_tanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Unary::gelu:
      return x / 2 * (1 + std::erf(x / std::numbers::sqrt2));
    case Unary::silu:
      return x / (1 + std::exp(-x));
    case Unary::relu:
      return x > 0 ? x : 0;
    case Unary::relu_squared:
      return x > 0 ? x * x : 0;
    case Unary::sin:
      return std::sin(x);
    case Unary::exp:
      return std::exp(x);
    case Unary::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Unary::abs:
      return std::fabs(x);
    case Unary::reciprocal:
      return 1 / x;
  }
  return kNan;
}

class ElementwiseTest : public OnDevice {
 protected:
  Tensor make(const std::vector<double>& values, Dtype dtype, Shape shape = {}) const {
    return Tensor::from(values, shape.rank ? shape : Shape{static_cast<int64_t>(values.size())}, dtype, device());
  }
  Tensor forward(Unary function, const Tensor& x) const {
    const Tensor y = Tensor::empty_like(x);
    auto [k, stream] = on(device());
    k.unary_forward(stream, {function, x.view(), y.view()});
    return y;
  }
  Tensor backward(Unary function, const Tensor& x, const Tensor& dy) const {
    const Tensor dx = Tensor::empty_like(x);
    auto [k, stream] = on(device());
    k.unary_backward(stream, {function, x.view(), dy.view(), dx.view()});
    return dx;
  }
  std::vector<double> values(Unary function, const std::vector<double>& x) const {
    return forward(function, make(x, Dtype::f32)).to_host();
  }
  std::vector<double> slopes(Unary function, const std::vector<double>& x) const {
    return backward(function, make(x, Dtype::f32), make(std::vector<double>(x.size(), 1), Dtype::f32)).to_host();
  }
};

TEST_P(ElementwiseTest, FillWritesItsRangeOnly) {
  auto [k, stream] = on(device());
  for (int64_t n : kSizes) {
    for (Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::f64, Dtype::i32}) {
      const Tensor all = Tensor::empty({n + 2}, dtype, device());
      k.fill(stream, {all.view(), 3});
      k.fill(stream, {all.narrow(1, n).view(), -2});
      std::vector<double> expected(n + 2, -2);
      expected.front() = expected.back() = 3;
      EXPECT_EQ(all.to_host(), expected);
    }
  }
}

TEST_P(ElementwiseTest, UnaryMatchesItsFormula) {
  for (Unary function : kFunctions) {
    for (Dtype dtype : floating_dtypes(device())) {
      for (int64_t n : kSizes) {
        const Tensor x = make(wave(n, 0.1, 4), dtype);
        std::vector<double> expected = x.to_host();
        for (double& v : expected) v = reference(function, v);
        expect_close(forward(function, x).to_host(), expected, rounding(dtype));
      }
    }
  }
}

TEST_P(ElementwiseTest, UnaryBackwardIsDyTimesTheDerivative) {
  for (Unary function : kFunctions) {
    for (Dtype dtype : floating_dtypes(device())) {
      for (int64_t n : kSizes) {
        const Tensor x = make(wave(n, 0.1, 4), dtype), dy = make(wave(n, 2), dtype);
        const std::vector<double> at = x.to_host(), upstream = dy.to_host();
        std::vector<double> expected(n);
        for (int64_t i = 0; i < n; ++i) {
          const double h = 1e-5 * std::fabs(at[i]);  // never crosses the kinks at 0
          expected[i] = upstream[i] * (reference(function, at[i] + h) - reference(function, at[i] - h)) / (2 * h);
        }
        expect_close(backward(function, x, dy).to_host(), expected, std::max(rounding(dtype), 1e-6));
      }
    }
  }
}

TEST_P(ElementwiseTest, UnaryInPlace) {
  auto [k, stream] = on(device());
  const Tensor x = make(wave(1000, 0), Dtype::f32);
  const std::vector<double> expected = forward(Unary::silu, x).to_host();
  k.unary_forward(stream, {Unary::silu, x.view(), x.view()});
  EXPECT_EQ(x.to_host(), expected);
}

TEST_P(ElementwiseTest, NanComesThroughEveryFunction) {
  for (Unary function : kFunctions) {
    // Among ordinary values, so that a vector holds both; the neighbours must not notice.
    std::vector<double> x = wave(20, 0);
    const std::vector<double> clean = values(function, x), clean_slopes = slopes(function, x);
    x[7] = kNan;
    for (auto [with_nan, without] : {std::pair{values(function, x), clean}, {slopes(function, x), clean_slopes}}) {
      EXPECT_TRUE(std::isnan(with_nan[7])) << static_cast<int>(function);
      with_nan[7] = without[7];
      EXPECT_EQ(with_nan, without);
    }
  }
}

TEST_P(ElementwiseTest, LimitsFarFromZero) {
  const std::vector<double> far = {-kInf, -1e30, -1e4, 1e4, 1e30, kInf};
  const double e30 = static_cast<double>(1e30f);
  for (Unary gate : {Unary::gelu_tanh, Unary::gelu, Unary::silu}) {
    EXPECT_EQ(values(gate, far), (std::vector<double>{0, 0, 0, 1e4, e30, kInf}));
    EXPECT_EQ(slopes(gate, far), (std::vector<double>{0, 0, 0, 1, 1, 1}));
  }
  EXPECT_EQ(values(Unary::relu, far), (std::vector<double>{0, 0, 0, 1e4, e30, kInf}));
  EXPECT_EQ(values(Unary::relu_squared, far), (std::vector<double>{0, 0, 0, 1e8, kInf, kInf}));
  EXPECT_EQ(values(Unary::exp, far), (std::vector<double>{0, 0, 0, kInf, kInf, kInf}));
  EXPECT_EQ(values(Unary::sigmoid, far), (std::vector<double>{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(slopes(Unary::sigmoid, far), std::vector<double>(6, 0));
  EXPECT_EQ(values(Unary::reciprocal, {-kInf, -0.0, 0, kInf}), (std::vector<double>{0, -kInf, kInf, 0}));
  EXPECT_EQ(slopes(Unary::abs, {-kInf, -1, 0, 2, kInf}), (std::vector<double>{-1, -1, 0, 1, 1}));
  EXPECT_TRUE(std::isnan(values(Unary::sin, {kInf})[0]));
}

TEST_P(ElementwiseTest, SinOfAnglesOfAnySize) {
  std::vector<double> x;
  for (double angle : {1e-30, 0.1, 3.0, 100.0, 9999.0, 1.1e4, 1e5, 1e9, 1e20, 3e38}) {
    x.push_back(static_cast<float>(angle));
    x.push_back(-static_cast<float>(angle));
  }
  for (const std::vector<double>& angles : {x, std::vector<double>(x.begin(), x.begin() + 10)}) {
    std::vector<double> sines, cosines;
    for (double angle : angles) sines.push_back(std::sin(angle)), cosines.push_back(std::cos(angle));
    expect_close(values(Unary::sin, angles), sines, 1e-7);
    expect_close(slopes(Unary::sin, angles), cosines, 1e-7);
  }
}

// Values of the published GELU in its tanh form.
TEST_P(ElementwiseTest, SSM_G14_gelu) {
  expect_close(values(Unary::gelu_tanh, {-1, -0.5, 0.5, 1, 2}),
               {-0.15880801, -0.15428599, 0.34571401, 0.84119199, 1.95459769}, 1e-7);
}

TEST_P(ElementwiseTest, Parcae_16_4_relu_squared) {
  // Parcae's MLP halves the square.
  auto [k, stream] = on(device());
  const Tensor x = make({-1, 0, 0.5, 2}, Dtype::f32), y = forward(Unary::relu_squared, x);
  k.scale(stream, {y.view(), y.view(), 0.5});
  EXPECT_EQ(y.to_host(), (std::vector<double>{0, 0, 0.125, 2}));
  const Tensor half = make({0.5, 0.5, 0.5, 0.5}, Dtype::f32);
  EXPECT_EQ(backward(Unary::relu_squared, x, half).to_host(), (std::vector<double>{0, 0, 0.5, 2}));
}

TEST_P(ElementwiseTest, BinaryOfEveryDtypeAndBroadcast) {
  auto [k, stream] = on(device());
  const Shape a_shape{5, 3, 7};
  for (Dtype da : floating_dtypes(device())) {
    for (Dtype db : floating_dtypes(device())) {
      for (Dtype dy : floating_dtypes(device())) {
        for (Shape b_shape : {Shape{5, 3, 7}, Shape{3, 7}, Shape{7}, Shape{}}) {
          const Tensor a = make(wave(105, 0), da, a_shape);
          const Tensor b = Tensor::from(wave(b_shape.numel(), 1), b_shape, db, device());
          const Tensor sum = Tensor::empty(a_shape, dy, device()), product = Tensor::empty_like(sum);
          k.add(stream, {a.view(), b.view(), sum.view()});
          k.mul(stream, {a.view(), b.view(), product.view()});
          const std::vector<double> left = a.to_host(), right = b.to_host();
          std::vector<double> sums = left, products = left;
          for (size_t i = 0; i < left.size(); ++i) {
            sums[i] += right[i % right.size()];
            products[i] *= right[i % right.size()];
          }
          const double error = std::max(rounding(dy), da != Dtype::f64 && db != Dtype::f64 ? 5e-7 : 0.0);
          expect_close(sum.to_host(), sums, error);
          expect_close(product.to_host(), products, error);
        }
      }
    }
  }
}

// Around the sizes at which the work is cut into blocks and chunks.
TEST_P(ElementwiseTest, BinaryOfAwkwardSizes) {
  auto [k, stream] = on(device());
  for (int64_t columns : {1, 3, 17, 1023, 1024, 1025, 20000}) {
    for (int64_t rows : {1, 5, 65}) {
      const Tensor a = make(wave(rows * columns, 0), Dtype::f32, {rows, columns}),
                   b = make(wave(columns, 1), Dtype::f32);
      const std::vector<double> right = b.to_host();
      std::vector<double> expected = a.to_host();
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += right[i % right.size()];
      k.add(stream, {a.view(), b.view(), a.view()});  // in place
      expect_close(a.to_host(), expected, 1e-7);
    }
  }
}

TEST_P(ElementwiseTest, ScaleByHostAndDeviceFactor) {
  auto [k, stream] = on(device());
  for (Dtype dx : floating_dtypes(device())) {
    for (Dtype dy : floating_dtypes(device())) {
      const Tensor x = make(wave(1000, 0), dx), y = Tensor::empty({1000}, dy, device());
      for (const Tensor& factor : {Tensor(), make({-0.25}, Dtype::f32), make({-0.25}, Dtype::f64)}) {
        k.scale(stream, {x.view(), y.view(), 3, factor.view()});
        std::vector<double> expected = x.to_host();
        for (double& v : expected) v *= factor.defined() ? -0.75 : 3;
        expect_close(y.to_host(), expected, std::max(rounding(dy), rounding(dx == Dtype::f64 ? dx : Dtype::f32)));
      }
    }
  }
}

TEST_P(ElementwiseTest, SelectTakesWholeRowsAndNeverMultiplies) {
  auto [k, stream] = on(device());
  for (Dtype dtype : floating_dtypes(device())) {
    for (int64_t row : {1, 5}) {
      std::vector<int32_t> bits(37);
      for (size_t i = 0; i < bits.size(); ++i) bits[i] = i % 3 == 0 ? static_cast<int32_t>(i) - 9 : 0;
      const int64_t n = 37 * row;
      const Tensor mask = Tensor::from(bits, {37}, device());
      std::vector<double> poisoned = wave(n, 1);
      for (int64_t i = 0; i < n; ++i) {
        if (bits[i / row] != 0) poisoned[i] = i % 2 ? kInf : kNan;
      }
      const Tensor a = make(wave(n, 0), dtype, {37, row}), b = make(poisoned, dtype, {37, row});
      const Tensor y = Tensor::empty_like(a);
      const auto expect = [&](const Tensor& if_set, const Tensor& if_clear) {
        k.select(stream, {mask.view(), if_set.view(), if_clear.view(), y.view()});
        const std::vector<double> zero(n, 0), set = if_set.defined() ? if_set.to_host() : zero;
        std::vector<double> expected = if_clear.defined() ? if_clear.to_host() : zero;
        for (int64_t i = 0; i < n; ++i) {
          if (bits[i / row] != 0) expected[i] = set[i];
        }
        EXPECT_EQ(y.to_host(), expected);
      };
      expect(a, b);
      expect(a, {});
      expect({}, b);
      expect(a, a);
    }
  }
}

TEST_P(ElementwiseTest, SameBitsForAnyThreadCount) {
  auto [k, stream] = on(device());
  const Tensor x = make(wave(65537, 0, 5), Dtype::f32), dy = make(wave(65537, 1), Dtype::f32);
  const Tensor bias = make(wave(1, 1), Dtype::f32), y = Tensor::empty_like(x);
  for (Unary function : kFunctions) {
    expect_same_bits_for_any_thread_count([&] { return forward(function, x).to_host(); });
    expect_same_bits_for_any_thread_count([&] { return backward(function, x, dy).to_host(); });
  }
  expect_same_bits_for_any_thread_count([&] {
    k.add(stream, {x.view(), bias.view(), y.view()});
    return y.to_host();
  });
}

MARA_ON_EVERY_DEVICE(ElementwiseTest);

template <class F, class G>
double worst_error(F f, G exact, float from, float to, bool relative) {
  double worst = 0;
  constexpr int kSteps = 200000;
  for (int i = 0; i <= kSteps; ++i) {
    const float x = from + (to - from) * (static_cast<float>(i) / kSteps);
    const double expected = exact(static_cast<double>(x));
    const double error = std::fabs(static_cast<double>(f(x)) - expected) / (relative ? std::fabs(expected) : 1);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

TEST(Numeric, FloatFunctionsAreWithinTheirStatedErrors) {
  const auto exp = [](auto x) { return numeric::exp(x); };
  const auto sigmoid = [](auto x) { return numeric::sigmoid(x); };
  const auto erf = [](auto x) { return numeric::erf(x); };
  const auto sin = [](auto x) { return numeric::sin(x); };
  const auto cos = [](auto x) { return numeric::cos(x); };
  EXPECT_LT(worst_error(exp, exp, -87, 88.7f, true), 1e-7);
  EXPECT_LT(worst_error(sigmoid, sigmoid, -80, 80, true), 2e-7);
  for (float bound : {0.01f, 2.0f, 10.0f}) EXPECT_LT(worst_error(erf, erf, -bound, bound, false), 2e-7);
  for (float bound : {1.0f, 100.0f, numeric::kAngleLimit}) {
    EXPECT_LT(worst_error(sin, sin, -bound, bound, false), 1e-7);
    EXPECT_LT(worst_error(cos, cos, -bound, bound, false), 1e-7);
  }
}

TEST(Numeric, ExpAtTheEdgesOfTheExponent) {
  const auto inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(numeric::exp(0.0f), 1.0f);
  EXPECT_EQ(numeric::exp(88.73f), inf);
  EXPECT_EQ(numeric::exp(inf), inf);
  EXPECT_EQ(numeric::exp(-inf), 0.0f);
  EXPECT_EQ(numeric::exp(-105.0f), 0.0f);
  EXPECT_NEAR(numeric::exp(-95.0f) / std::exp(-95.0), 1, 1e-4);  // denormal: 13 bits are left
  EXPECT_TRUE(std::isnan(numeric::exp(std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace mara::kernels
