#include <cmath>

#include "compare.h"
#include "devices.h"
#include "kernels/kernels.h"
#include "threads.h"

namespace mara::kernels {
namespace {

using Values = std::vector<double>;

class SoftmaxTest : public OnDevice {
 protected:
  Tensor forward(const Tensor& x) const {
    const Tensor y = Tensor::empty_like(x);
    auto [k, stream] = on(device());
    k.softmax_forward(stream, {x.view(), y.view()});
    return y;
  }
  Tensor backward(const Tensor& y, const Tensor& dy) const {
    const Tensor dx = Tensor::empty_like(y);
    auto [k, stream] = on(device());
    k.softmax_backward(stream, {y.view(), dy.view(), dx.view()});
    return dx;
  }
  Values row(const Values& x) const {
    return forward(Tensor::from(x, {1, static_cast<int64_t>(x.size())}, Dtype::f32, device())).to_host();
  }
};

TEST_P(SoftmaxTest, MatchesTheFormula) {
  for (Dtype dtype : floating_dtypes(device())) {
    for (auto [rows, columns] : {std::pair{1, 1}, {3, 3}, {17, 17}, {5, 1000}, {1, 65537}, {2000, 33}}) {
      const Tensor x = Tensor::from(wave(rows * columns, 0, 6), {rows, columns}, dtype, device());
      const Tensor dy = Tensor::from(wave(rows * columns, 1), {rows, columns}, dtype, device());
      const Tensor y = forward(x);
      Values expected = x.to_host(), gradient = y.to_host();
      const Values upstream = dy.to_host();
      for (int r = 0; r < rows; ++r) {
        double sum = 0, dot = 0;
        for (int i = r * columns; i < (r + 1) * columns; ++i) {
          expected[i] = std::exp(expected[i]);
          sum += expected[i];
          dot += gradient[i] * upstream[i];
        }
        for (int i = r * columns; i < (r + 1) * columns; ++i) {
          expected[i] /= sum;
          gradient[i] *= upstream[i] - dot;
        }
      }
      EXPECT_LT(relative_error(y.to_host(), expected), tolerance(dtype));
      expect_close(backward(y, dy).to_host(), gradient, rounding(dtype));
    }
  }
}

TEST_P(SoftmaxTest, LargeNumbersDoNotOverflow) {
  expect_close(row({1e30, 1e30, -1e30}), {0.5, 0.5, 0}, 0);
  expect_close(row({-1e30, -1e30}), {0.5, 0.5}, 0);
  expect_close(row({-INFINITY, 0, 0}), {0, 0.5, 0.5}, 0);
}

TEST_P(SoftmaxTest, NanReachesTheWholeRowAndNoOther) {
  Values values = wave(60, 0);
  values[25] = NAN;
  const Values y = forward(Tensor::from(values, {3, 20}, Dtype::f32, device())).to_host();
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 20 == 1) << i;
}

TEST_P(SoftmaxTest, SameBitsForAnyThreadCount) {
  const Tensor x = Tensor::from(wave(70000, 0), {1000, 70}, Dtype::f32, device());
  expect_same_bits_for_any_thread_count([&] {
    const Tensor y = forward(x);
    return concatenate({y.to_host(), backward(y, x).to_host()});
  });
}

MARA_ON_EVERY_DEVICE(SoftmaxTest);

}  // namespace
}  // namespace mara::kernels
