#include <optional>

#include "devices.h"
#include "kernels/compare.h"
#include "kernels/kernels.h"
#include "kernels/threads.h"

namespace mara {
namespace {

struct Sizes {
  int64_t batch, length, heads, width, rotary;
  double base = 10000;

  Shape shape() const { return {batch, length, 3 * heads * width}; }
};

class RotaryTest : public OnDevice {
 protected:
  std::vector<double> run(const Sizes& s, const std::vector<double>& values, bool inverse = false,
                          std::optional<Dtype> given = std::nullopt, int64_t first = 0) const {
    const Dtype dtype = given.value_or(widest(device()));
    const Tensor x = Tensor::from(values, s.shape(), dtype, device()), y = Tensor::empty_like(x);
    auto [k, stream] = kernels::on(device());
    k.rotary(stream, {x.view(), y.view(), s.heads, s.rotary, s.base, inverse, first});
    return y.to_host();
  }
  double exact() const { return widest(device()) == Dtype::f64 ? 1e-13 : 1e-6; }
};

std::vector<double> reference(const Sizes& s, const std::vector<double>& x, int64_t first = 0) {
  std::vector<double> y = x;
  const int64_t part = s.heads * s.width;
  for (int64_t row = 0; row < s.batch * s.length; ++row) {
    for (int64_t h = 0; h < 2 * s.heads; ++h) {
      for (int64_t i = 0; i < s.rotary / 2; ++i) {
        const double angle = static_cast<double>(first + row % s.length) *
                             std::pow(s.base, -2.0 * static_cast<double>(i) / static_cast<double>(s.rotary));
        const size_t even = static_cast<size_t>(row * 3 * part + h * s.width + 2 * i), odd = even + 1;
        y[even] = x[even] * std::cos(angle) - x[odd] * std::sin(angle);
        y[odd] = x[even] * std::sin(angle) + x[odd] * std::cos(angle);
      }
    }
  }
  return y;
}

TEST_P(RotaryTest, MatchesTheFormula) {
  for (const Dtype dtype : floating_dtypes(device())) {
    for (const Sizes& s : {Sizes{2, 37, 3, 8, 8}, {1, 300, 2, 10, 6}, {2, 1, 1, 4, 4}, {1, 17, 1, 5, 0}}) {
      const std::vector<double> x = Tensor::from(wave(s.shape().numel(), 0.3), s.shape(), dtype, device()).to_host();
      const std::vector<double> y = run(s, x, false, dtype);
      EXPECT_LT(relative_error(y, reference(s, x)), tolerance(dtype)) << s.length << to_string(dtype);
      if (s.length > 1 && s.rotary > 0) {  // controls: another base; the identity
        Sizes other = s;
        other.base = 5000;
        EXPECT_GT(relative_error(y, reference(other, x)), tolerance(dtype));
        EXPECT_GT(relative_error(y, x), 0.1);
      }
    }
  }
}

// The last positions of a sequence on their own, as they come when generating.
TEST_P(RotaryTest, StartsAtAnyPosition) {
  const Sizes whole{1, 200, 2, 8, 6}, last{1, 3, 2, 8, 6};
  const std::vector<double> x = wave(whole.shape().numel(), 0.3), y = run(whole, x);
  const ptrdiff_t rest = last.shape().numel();
  const std::vector<double> x_last(x.end() - rest, x.end()), y_last(y.end() - rest, y.end());
  EXPECT_LT(relative_error(run(last, x_last, false, {}, 197), y_last), exact());
  EXPECT_LT(relative_error(run(last, y_last, true, {}, 197), x_last), exact());
  EXPECT_GT(relative_error(run(last, x_last, false, {}, 196), y_last), 0.01);
}

TEST_P(RotaryTest, FarPositionsStayAccurate) {
  const Sizes s{1, 72, 1, 64, 64};
  const std::vector<double> x = wave(s.shape().numel(), 0.3), y = run(s, x, false, Dtype::f32, 131000);
  EXPECT_LT(relative_error(y, reference(s, x, 131000)), 1e-6);
  EXPECT_GT(relative_error(y, reference(s, x, 131001)), 0.01);
}

TEST_P(RotaryTest, InverseUndoesForward) {
  const Sizes s{2, 100, 2, 8, 6};
  const std::vector<double> x = wave(s.shape().numel(), 0.3);
  EXPECT_LT(relative_error(run(s, run(s, x), true), x), exact());
  EXPECT_GT(relative_error(run(s, run(s, x)), x), 0.1);
}

// The same q and k at every position: their product after rotation depends on the distance alone.
TEST_P(RotaryTest, ProductsDependOnRelativePosition) {
  const Sizes s{1, 60, 1, 8, 8};
  const std::vector<double> token = wave(24, 0.3);
  std::vector<double> x;
  for (int64_t l = 0; l < s.length; ++l) x.insert(x.end(), token.begin(), token.end());
  const std::vector<double> y = run(s, x);
  const auto product = [&](int64_t query, int64_t key) {
    double sum = 0;
    for (int64_t c = 0; c < 8; ++c)
      sum += y[static_cast<size_t>(query * 24 + c)] * y[static_cast<size_t>(key * 24 + 8 + c)];
    return sum;
  };
  for (const int64_t distance : {0, 1, 7, 30}) {
    for (int64_t l = distance; l < s.length; ++l) EXPECT_NEAR(product(l, l - distance), product(distance, 0), 10 * exact());
  }
  EXPECT_GT(std::fabs(product(7, 0) - product(1, 0)), 1e-3);
}

// RoPE of the Parcae specification: a head of width 4 at position 3, base 50000.
TEST_P(RotaryTest, Parcae_16_4_rotary) {
  const Sizes s{1, 4, 1, 4, 4, 50000};
  std::vector<double> x;
  for (int i = 0; i < 12; ++i) x.insert(x.end(), {1, 2, 3, 4});
  const std::vector<double> y = run(s, x);
  const double rotated[] = {-1.272232513, -1.838864985, 2.946065983, 4.039888022};
  for (size_t part = 0; part < 3; ++part) {
    for (size_t c = 0; c < 4; ++c) {
      EXPECT_NEAR(y[36 + 4 * part + c], part == 2 ? x[c] : rotated[c], 6e-10 + 10 * exact()) << part << c;
    }
  }
}

TEST_P(RotaryTest, SameBitsForAnyThreadCount) {
  const Sizes s{3, 200, 4, 16, 16};
  expect_same_bits_for_any_thread_count([&] { return run(s, wave(s.shape().numel(), 0.3), false, Dtype::f32); });
}

MARA_ON_EVERY_DEVICE(RotaryTest);

}  // namespace
}  // namespace mara
