#include "compare.h"
#include "devices.h"
#include "kernels/kernels.h"
#include "threads.h"

namespace mara::kernels {
namespace {

class ReduceTest : public OnDevice {
 protected:
  // Positive values, so that the sums are as large as the sums of magnitudes and relative errors mean something.
  Tensor make(const Shape& shape, Dtype dtype) const {
    std::vector<double> values = wave(shape.numel(), 0);
    for (double& v : values) v += 1.5;
    return Tensor::from(values, shape, dtype, device());
  }
  void check(const Shape& shape, Dtype dx, Dtype dy, bool accumulate) const {
    const Tensor x = make(shape, dx);
    const Tensor y = Tensor::from(wave(shape[0] * shape[2], 1), {shape[0], shape[2]}, dy, device());
    std::vector<double> expected = y.to_host();
    if (!accumulate) expected.assign(expected.size(), 0);
    const std::vector<double> values = x.to_host();
    const int64_t row = shape[1] * shape[2];
    for (size_t i = 0; i < values.size(); ++i) expected[i / row * shape[2] + i % shape[2]] += values[i];
    auto [k, stream] = on(device());
    k.reduce_sum(stream, {x.view(), y.view(), accumulate});
    expect_close(y.to_host(), expected, std::max(rounding(dy), rounding(dx == Dtype::f64 ? dx : Dtype::f32)));
  }
};

TEST_P(ReduceTest, AwkwardShapes) {
  for (Shape shape : {Shape{1, 1, 1}, Shape{3, 1, 5}, Shape{1, 65537, 1}, Shape{65537, 3, 1}, Shape{7, 1000, 1},
                      Shape{1, 1000, 17}, Shape{1, 129, 300}, Shape{2, 257, 64}, Shape{3, 5, 63}, Shape{1, 40000, 3},
                      Shape{2, 3, 1000}, Shape{4, 128, 256}, Shape{1, 17, 65537}, Shape{1001, 2, 2}, Shape{77, 5, 6},
                      Shape{50, 2, 64}, Shape{3, 1, 1000}}) {
    check(shape, Dtype::f32, Dtype::f32, false);
  }
}

TEST_P(ReduceTest, EveryDtypeWithAndWithoutAccumulation) {
  for (Dtype dx : floating_dtypes(device())) {
    for (Dtype dy : floating_dtypes(device())) {
      for (bool accumulate : {false, true}) {
        check({3, 1000, 17}, dx, dy, accumulate);
        check({17, 33, 1}, dx, dy, accumulate);
      }
    }
  }
}

TEST_P(ReduceTest, SumOfNothingIsZero) { check({2, 0, 3}, Dtype::f32, Dtype::f32, false); }

TEST_P(ReduceTest, NanAndInfReachTheirOwnSumOnly) {
  std::vector<double> values(300 * 70, 1);
  values[150 * 70 + 3] = NAN;
  values[299 * 70 + 5] = INFINITY;
  const Tensor x = Tensor::from(values, {1, 300, 70}, Dtype::f32, device());
  const Tensor y = Tensor::empty({1, 70}, Dtype::f32, device());
  auto [k, stream] = on(device());
  k.reduce_sum(stream, {x.view(), y.view()});
  std::vector<double> expected(70, 300);
  expected[3] = NAN;
  expected[5] = INFINITY;
  expect_close(y.to_host(), expected, 0);
}

TEST_P(ReduceTest, LongSumsStayAccurate) {
  // A running f32 sum of a million times 0.1 is wrong by one percent.
  constexpr int64_t kCount = 1 << 20;
  const Tensor x = Tensor::from(std::vector<double>(kCount, 0.1), {1, kCount, 1}, Dtype::f32, device());
  const Tensor y = Tensor::empty({1, 1}, Dtype::f32, device());
  auto [k, stream] = on(device());
  k.reduce_sum(stream, {x.view(), y.view()});
  EXPECT_NEAR(y.item() / (kCount * static_cast<double>(0.1f)), 1, 1e-6);
}

TEST_P(ReduceTest, SumOfSquaresIsExactBeyondFloat) {
  auto [k, stream] = on(device());
  for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
    for (int64_t n : {1, 3, 17, 1000, 65537}) {
      const Tensor x = make({n}, dtype), y = Tensor::empty({1}, Dtype::f64, device());
      if (dtype == Dtype::f64 && device().type == DeviceType::cuda) {
        EXPECT_THROW(k.sum_of_squares(stream, {x.view(), y.view()}), Error);
        continue;
      }
      k.sum_of_squares(stream, {x.view(), y.view()});
      double expected = 0;
      for (double v : x.to_host()) expected += v * v;
      EXPECT_NEAR(y.item() / expected, 1, 1e-13);
    }
  }
}

TEST_P(ReduceTest, SameBitsForAnyThreadCount) {
  auto [k, stream] = on(device());
  for (Shape shape : {Shape{1, 100000, 1}, Shape{1, 5000, 17}, Shape{300, 100, 1}, Shape{1, 1000, 300}}) {
    const Tensor x = make(shape, Dtype::f32), y = Tensor::empty({shape[0], shape[2]}, Dtype::f32, device());
    const Tensor flat = x.reshape({-1}), squares = Tensor::empty({1}, Dtype::f64, device());
    expect_same_bits_for_any_thread_count([&] {
      k.reduce_sum(stream, {x.view(), y.view()});
      k.sum_of_squares(stream, {flat.view(), squares.view()});
      return concatenate({y.to_host(), squares.to_host()});
    });
  }
}

MARA_ON_EVERY_DEVICE(ReduceTest);

}  // namespace
}  // namespace mara::kernels
