#include "compare.h"
#include "devices.h"
#include "kernels/kernels.h"
#include "threads.h"

namespace mara::kernels {
namespace {

class GatherTest : public OnDevice {
 protected:
  struct Sizes {
    int64_t outer, n, m, inner;
  };
  // Repeats some values, leaves others out.
  Tensor index(int64_t m, int64_t n) const {
    std::vector<int32_t> values(m);
    for (int64_t i = 0; i < m; ++i) values[i] = static_cast<int32_t>(i * i * 7 % n);
    return Tensor::from(values, {m}, device());
  }
  Tensor make(const Shape& shape, double phase, Dtype dtype) const {
    return Tensor::from(wave(shape.numel(), phase), shape, dtype, device());
  }
  void check(const Sizes& s, Dtype dx, Dtype dy, bool accumulate) const {
    auto [k, stream] = on(device());
    const Tensor at = index(s.m, s.n);
    const Tensor x = make({s.outer, s.n, s.inner}, 0, dx), y = Tensor::empty({s.outer, s.m, s.inner}, dy, device());
    k.gather_forward(stream, {x.view(), at.view(), y.view()});
    const Tensor grad = make({s.outer, s.m, s.inner}, 2, dy), sum = make({s.outer, s.n, s.inner}, 3, dx);
    std::vector<double> expected_sum = sum.to_host();
    if (!accumulate) expected_sum.assign(expected_sum.size(), 0);
    k.gather_backward(stream, {at.view(), grad.view(), sum.view(), accumulate});

    const std::vector<double> values = x.to_host(), upstream = grad.to_host();
    const std::vector<int32_t> picked = at.to_host_i32();
    std::vector<double> expected(y.numel());
    for (int64_t o = 0; o < s.outer; ++o) {
      for (int64_t m = 0; m < s.m; ++m) {
        for (int64_t i = 0; i < s.inner; ++i) {
          const int64_t from = (o * s.n + picked[m]) * s.inner + i, to = (o * s.m + m) * s.inner + i;
          expected[to] = values[from];
          expected_sum[from] += upstream[to];
        }
      }
    }
    const double either = rounding(dx == Dtype::f64 && dy == Dtype::f64 ? Dtype::f64 : Dtype::f32);
    expect_close(y.to_host(), expected, dx == dy ? 0 : std::max(rounding(dy), either));
    // Sums of up to m / n numbers below 1, in f32.
    expect_close(sum.to_host(), expected_sum, std::max(rounding(dx), either * (1 + s.m / s.n)));
  }
};

TEST_P(GatherTest, AwkwardSizes) {
  for (Sizes s : {Sizes{1, 1, 1, 1}, Sizes{1, 3, 17, 1}, Sizes{1, 17, 3, 17}, Sizes{1, 100, 1000, 65},
                  Sizes{3, 17, 40, 1}, Sizes{2, 50, 20, 1000}, Sizes{5, 1000, 17, 3}, Sizes{1, 2, 65537, 2}}) {
    for (bool accumulate : {false, true}) check(s, Dtype::f32, Dtype::f32, accumulate);
  }
}

TEST_P(GatherTest, EveryDtype) {
  for (Dtype dx : floating_dtypes(device())) {
    for (Dtype dy : floating_dtypes(device())) {
      for (bool accumulate : {false, true}) check({2, 30, 40, 17}, dx, dy, accumulate);
    }
  }
}

TEST_P(GatherTest, BackwardOfNoIndexWritesZeros) {
  auto [k, stream] = on(device());
  const Tensor none = Tensor::from(std::vector<int32_t>{}, {0}, device());
  const Tensor dy = Tensor::empty({1, 0, 5}, Dtype::f32, device()), dx = make({1, 4, 5}, 0, Dtype::f32);
  k.gather_backward(stream, {none.view(), dy.view(), dx.view()});
  EXPECT_EQ(dx.to_host(), std::vector<double>(20, 0));
}

TEST_P(GatherTest, BackwardAddsInTheOrderOfTheIndex) {
  // (2^24 + 1) - 2^24 is 0 in f32, (2^24 - 2^24) + 1 is 1.
  auto [k, stream] = on(device());
  const auto sum_of = [&](const std::vector<double>& terms) {
    const Tensor at = Tensor::from(std::vector<int32_t>{1, 1, 1}, {3}, device());
    const Tensor dy = Tensor::from(terms, {1, 3, 1}, Dtype::f32, device());
    const Tensor dx = Tensor::empty({1, 2, 1}, Dtype::f32, device());
    k.gather_backward(stream, {at.view(), dy.view(), dx.view()});
    return dx.to_host()[1];
  };
  EXPECT_EQ(sum_of({0x1p24, 1, -0x1p24}), 0);
  EXPECT_EQ(sum_of({0x1p24, -0x1p24, 1}), 1);
}

TEST_P(GatherTest, SameBitsForAnyThreadCount) {
  auto [k, stream] = on(device());
  const Tensor at = index(3000, 50), dy = make({1, 3000, 300}, 0, Dtype::f32);
  const Tensor dx = Tensor::empty({1, 50, 300}, Dtype::f32, device()), y = Tensor::empty_like(dy);
  expect_same_bits_for_any_thread_count([&] {
    k.gather_backward(stream, {at.view(), dy.view(), dx.view()});
    k.gather_forward(stream, {dx.view(), at.view(), y.view()});
    return concatenate({dx.to_host(), y.to_host()});
  });
}

MARA_ON_EVERY_DEVICE(GatherTest);

}  // namespace
}  // namespace mara::kernels
