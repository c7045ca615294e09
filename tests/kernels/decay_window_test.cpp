#include "kernels/decay_window.h"

#include <cmath>

#include "compare.h"
#include "devices.h"
#include "kernels/kernels.h"

namespace mara::kernels {
namespace {

using Values = std::vector<double>;

class DecayWindowTest : public OnDevice {
 protected:
  // Rates of both signs, and one that is 0; times from -1 to 4.
  void check(int64_t channels, int64_t length, Dtype dtype, bool in_place, bool accumulate) const {
    const auto tensor = [&](const Values& values, const Shape& shape) {
      return Tensor::from(values, shape, dtype, device());
    };
    Values rates = wave(channels, 2), times = wave(length, 3), positive = wave(channels * length, 1);
    rates[0] = 0;
    for (double& t : times) t = 1.5 + 2.5 * t;
    for (double& v : positive) v += 1.5;  // so that sums are as large as the sums of magnitudes
    const Tensor x = tensor(positive, {channels, length}), dy = tensor(positive, {channels, length});
    const Tensor rate = tensor(rates, {channels}), time = tensor(times, {length});
    const Tensor drate = tensor(Values(channels, 1), {channels});
    const Values values = x.to_host(), r = rate.to_host(), t = time.to_host();
    auto [k, stream] = on(device());
    k.decay_window_rate(stream, {.dy = dy.view(),
                                 .x = x.view(),
                                 .rate = rate.view(),
                                 .time = time.view(),
                                 .drate = drate.view(),
                                 .accumulate = accumulate});
    const Tensor y = in_place ? x : Tensor::empty_like(x);
    k.decay_window(stream, {.x = x.view(), .rate = rate.view(), .time = time.view(), .y = y.view(), .shift = 0.25});
    Values expected(values.size()), backwards(values.size()), sums(r.size(), accumulate ? 1 : 0);
    for (int64_t d = 0; d < channels; ++d) {
      const double sign = r[d] > 0 ? 1 : r[d] < 0 ? -1 : 0;
      for (int64_t l = 0; l < length; ++l) {
        const double decay = std::exp(-std::fabs(r[d]) * t[l]), v = values[d * length + l];
        expected[d * length + l] = v * (decay + 0.25);
        backwards[d * length + l] = v * (1 / decay + 0.25);
        sums[d] -= sign * v * v * t[l] * decay;
      }
    }
    expect_close(y.to_host(), expected, 4 * rounding(dtype));
    expect_close(drate.to_host(), sums, 16 * rounding(dtype));
    if (channels == 1) return;  // whose rate is 0
    // Controls: a window that grows, and gradients of the opposite sign.
    EXPECT_GT(relative_error(y.to_host(), backwards), 0.1);
    for (double& sum : sums) sum = -sum;
    EXPECT_GT(relative_error(drate.to_host(), sums), 0.1);
  }
};

TEST_P(DecayWindowTest, AwkwardShapes) {
  for (const auto& [channels, length] : {std::pair{1, 1}, {3, 5}, {2, 64}, {5, 1027}, {130, 256}, {2, 40000}}) {
    check(channels, length, Dtype::f32, false, false);
  }
}

TEST_P(DecayWindowTest, InPlaceAndAdded) {
  check(3, 260, Dtype::f32, true, true);
  if (device() == kCpu) check(3, 260, Dtype::f64, true, true);
}

MARA_ON_EVERY_DEVICE(DecayWindowTest);

}  // namespace
}  // namespace mara::kernels
