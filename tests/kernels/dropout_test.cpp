#include <cmath>

#include "compare.h"
#include "devices.h"
#include "kernels/common/philox.h"
#include "kernels/kernels.h"
#include "threads.h"

namespace mara::kernels {
namespace {

class DropoutTest : public OnDevice {
 protected:
  // *step on the device.
  Tensor step_of(int64_t step) const {
    return Tensor::from(std::vector<int32_t>{static_cast<int32_t>(step), static_cast<int32_t>(step >> 32)}, {2},
                        device());
  }
  Tensor run(const Tensor& x, float p, uint64_t seed = 1, int64_t step = 2, uint32_t op = 3) const {
    const Tensor y = Tensor::empty_like(x), at = step_of(step);
    auto [k, stream] = on(device());
    k.dropout(stream, {x.view(), y.view(), p, seed, at.view().ptr<int64_t>(), op});
    return y;
  }
  Tensor ones(int64_t n) const { return Tensor::from(std::vector<double>(n, 1), {n}, Dtype::f32, device()); }
};

TEST_P(DropoutTest, IsTheDocumentedFunctionOfItsCounter) {
  const int64_t step = 0x0000000700000003;
  for (Dtype dtype : floating_dtypes(device())) {
    for (int64_t n : {1, 3, 17, 1000, 65537}) {
      const Tensor x = Tensor::from(wave(n, 0), {n}, dtype, device());
      std::vector<double> expected = x.to_host();
      for (int64_t i = 0; i < n; ++i) {
        const auto uniform = dropout_uniforms(philox::key(9, Purpose::dropout), step, 4, static_cast<uint64_t>(i / 4));
        expected[i] = uniform[i % 4] >= 0.3f ? expected[i] / (1 - static_cast<double>(0.3f)) : 0;
      }
      expect_close(run(x, 0.3f, 9, step, 4).to_host(), expected, rounding(dtype));
    }
  }
}

TEST_P(DropoutTest, KeepsTheRateAndTheMean) {
  constexpr int64_t kCount = 200000;
  for (float p : {0.1f, 0.5f, 0.9f}) {
    double kept = 0, sum = 0;
    for (double y : run(ones(kCount), p).to_host()) {
      kept += y != 0;
      sum += y;
    }
    const double deviation = std::sqrt(p * (1 - p) / kCount);  // of the rate
    EXPECT_NEAR(kept / kCount, 1 - p, 5 * deviation);
    EXPECT_NEAR(sum / kCount, 1, 5 * deviation / (1 - p));
  }
}

TEST_P(DropoutTest, NoneAndAll) {
  const Tensor x = Tensor::from(wave(1000, 0), {1000}, Dtype::f32, device());
  EXPECT_EQ(run(x, 0).to_host(), x.to_host());
  EXPECT_EQ(run(x, 1).to_host(), std::vector<double>(1000, 0));
}

TEST_P(DropoutTest, BackwardDropsWhatForwardDropped) {
  // Forward and backward are the same call: what is dropped must not depend on the values or their dtype.
  const std::vector<double> y = run(ones(1000), 0.5f).to_host();
  for (Dtype dtype : floating_dtypes(device())) {
    std::vector<double> upstream = wave(1000, 1);
    upstream[0] = INFINITY;
    const std::vector<double> dx = run(Tensor::from(upstream, {1000}, dtype, device()), 0.5f).to_host();
    for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(dx[i] != 0, y[i] != 0) << i;
  }
}

TEST_P(DropoutTest, OtherSeedsStepsAndOpsDropOthers) {
  constexpr int64_t kCount = 10000;
  const std::vector<double> reference = run(ones(kCount), 0.5f).to_host();
  EXPECT_EQ(run(ones(kCount), 0.5f).to_host(), reference);
  const int64_t far_step = int64_t{1} << 32 | 2;
  for (const Tensor& other : {run(ones(kCount), 0.5f, 2), run(ones(kCount), 0.5f, 1, 3),
                              run(ones(kCount), 0.5f, 1, far_step), run(ones(kCount), 0.5f, 1, 2, 4)}) {
    const std::vector<double> values = other.to_host();
    double equal = 0;
    for (size_t i = 0; i < values.size(); ++i) equal += values[i] == reference[i];
    EXPECT_NEAR(equal / kCount, 0.5, 5 * 0.5 / std::sqrt(kCount));  // independent: half of them agree by chance
  }
}

TEST_P(DropoutTest, SameBitsForAnyThreadCount) {
  expect_same_bits_for_any_thread_count([&] { return run(ones(65537), 0.5f).to_host(); });
}

MARA_ON_EVERY_DEVICE(DropoutTest);

}  // namespace
}  // namespace mara::kernels
