#include <set>

#include "devices.h"
#include "kernels/compare.h"
#include "kernels/kernels.h"
#include "kernels/threads.h"

namespace mara {
namespace {

using kernels::AdamWRange;
using kernels::StepReport;
using kernels::StepScalars;

// A plain struct in device memory.
template <class T>
class OnDeviceCopy {
 public:
  OnDeviceCopy(Device device, const std::vector<T>& values)
      : device_(device), count_(values.size()), data_(static_cast<T*>(runtime(device).allocate(bytes()))) {
    write(values);
  }
  ~OnDeviceCopy() { runtime(device_).release(data_, bytes()); }
  T* get() const { return data_; }
  void write(const std::vector<T>& values) { runtime(device_).copy_to_device(data_, values.data(), bytes()); }
  T read() const {
    T value;
    runtime(device_).copy_to_host(&value, data_, sizeof(T));
    return value;
  }

 private:
  size_t bytes() const { return count_ * sizeof(T); }
  Device device_;
  size_t count_;
  T* data_;
};

constexpr int64_t kCount = 40000;  // more than one chunk of work
constexpr float kBeta1 = 0.8f, kBeta2 = 0.95f, kEps = 1e-6f;
const std::vector<AdamWRange> kRanges = {{0, 5, 1.0f, 0.0f}, {64, 33000, 0.5f, 0.1f}, {33024, kCount, 2.0f, 0.01f}};

struct Weights {
  std::vector<double> w = wave(kCount, 0.1), m = wave(kCount, 0.2, 0.1), v = std::vector<double>(kCount, 0.02);
};

struct Step {
  int64_t step = 0;
  float lr = 0.01f;
  double loss = 3, count = 4;
  float clip = 0;
  std::vector<double> grad = wave(kCount, 0.7);

  double grad_squares() const {
    double sum = 0;
    for (const double g : grad) sum += g * g;
    return sum;
  }
  double norm() const { return std::sqrt(grad_squares()) / count; }
};

// The formula of kernels/optim.h, element by element.
void reference(Weights& s, const Step& step) {
  const double clip = step.clip > 0 ? std::min(1.0, step.clip / step.norm()) : 1;
  const double t = static_cast<double>(step.step + 1), b1 = kBeta1, b2 = kBeta2;
  for (const AdamWRange& range : kRanges) {
    for (size_t i = static_cast<size_t>(range.begin); i < static_cast<size_t>(range.end); ++i) {
      const double g = step.grad[i] * clip / step.count;
      s.m[i] = b1 * s.m[i] + (1 - b1) * g;
      s.v[i] = b2 * s.v[i] + (1 - b2) * g * g;
      const double direction = s.m[i] / (1 - std::pow(b1, t)) / (std::sqrt(s.v[i] / (1 - std::pow(b2, t))) + kEps);
      s.w[i] -= static_cast<double>(step.lr) * range.lr_scale * (direction + range.weight_decay * s.w[i]);
    }
  }
}

class AdamWTest : public OnDevice {
 protected:
  // The optimiser's memory on the device, and one step with it.
  struct Optimizer {
    Optimizer(Device d, Dtype dtype)
        : device(d),
          master(Tensor::from(Weights().w, {kCount}, dtype, d)),
          m(Tensor::from(Weights().m, {kCount}, dtype, d)),
          v(Tensor::from(Weights().v, {kCount}, dtype, d)),
          compute(dtype == Dtype::f32 ? Tensor::from(Weights().w, {kCount}, Dtype::bf16, d) : Tensor()),
          ranges(d, kRanges) {}

    StepReport step(const Step& s) {
      const Dtype dtype = master.dtype();
      const Tensor grad = Tensor::from(s.grad, {kCount}, dtype, device);
      const Tensor loss = Tensor::from(std::vector{s.loss}, {1}, dtype, device);
      const Tensor count = Tensor::from(std::vector{s.count}, {1}, dtype, device);
      const Tensor squares = Tensor::from(std::vector{s.grad_squares()}, {1}, Dtype::f64, device);
      const OnDeviceCopy<StepScalars> scalars(device, {{s.step, s.lr}});
      const OnDeviceCopy<StepReport> report(device, {{-1, -1, -1}});
      auto [k, stream] = kernels::on(device);
      k.adamw(stream, {master.view(), grad.view(), m.view(), v.view(), compute.view(), ranges.get(),
                       static_cast<int64_t>(kRanges.size()), loss.view(), count.view(), squares.view(), scalars.get(),
                       report.get(), kBeta1, kBeta2, kEps, s.clip});
      return report.read();
    }
    std::vector<double> all() const {
      return concatenate(
          {master.to_host(), m.to_host(), v.to_host(), compute.defined() ? compute.to_host() : std::vector<double>()});
    }

    Device device;
    Tensor master, m, v, compute;
    OnDeviceCopy<AdamWRange> ranges;
  };
};

TEST_P(AdamWTest, MatchesTheFormulaOverSteps) {
  for (const Dtype dtype : std::set{Dtype::f32, widest(device())}) {
    // f32: coefficients such as 1 - beta are rounded.
    const double limit = dtype == Dtype::f64 ? 1e-12 : 1e-6;
    Optimizer optimizer(device(), dtype);
    Weights expected;
    for (int64_t i = 0; i < 5; ++i) {
      Step step{.step = 3 * i, .lr = 0.01f * static_cast<float>(i + 1), .count = 4.0 + static_cast<double>(i)};
      step.clip = i % 2 == 1 ? 0.5f * static_cast<float>(step.norm()) : 0.0f;
      step.grad = wave(kCount, static_cast<double>(i));
      const StepReport report = optimizer.step(step);
      reference(expected, step);
      EXPECT_NEAR(report.grad_norm / step.norm(), 1, 1e-6);
      EXPECT_EQ(report.skipped, 0);
    }
    EXPECT_LT(relative_error(optimizer.master.to_host(), expected.w), limit);
    EXPECT_LT(relative_error(optimizer.m.to_host(), expected.m), limit);
    EXPECT_LT(relative_error(optimizer.v.to_host(), expected.v), limit);
    // Control: the steps moved the weights by far more than that.
    EXPECT_GT(relative_error(Weights().w, expected.w), 0.05);
  }
}

TEST_P(AdamWTest, ClippingBoundsTheNorm) {
  const Step step;
  const auto after = [&](float clip) {
    Optimizer optimizer(device(), widest(device()));
    Step clipped = step;
    clipped.clip = clip;
    optimizer.step(clipped);
    return optimizer.m.to_host();
  };
  const float norm = static_cast<float>(step.norm());
  EXPECT_EQ(after(2 * norm), after(0));
  Weights expected;
  Step clipped = step;
  clipped.clip = norm / 4;
  reference(expected, clipped);
  EXPECT_LT(relative_error(after(norm / 4), expected.m), widest(device()) == Dtype::f64 ? 1e-12 : 1e-6);
  EXPECT_GT(relative_error(after(0), expected.m), 0.1);
}

TEST_P(AdamWTest, CopyIsTheRoundedMaster) {
  Optimizer optimizer(device(), Dtype::f32);
  optimizer.step({});
  const std::vector<double> master = optimizer.master.to_host(), copy = optimizer.compute.to_host();
  bool differs = false;
  for (const AdamWRange& range : kRanges) {
    for (size_t i = static_cast<size_t>(range.begin); i < static_cast<size_t>(range.end); ++i) {
      ASSERT_EQ(copy[i], static_cast<double>(bf16(static_cast<float>(master[i])))) << i;
      differs |= copy[i] != master[i];
    }
  }
  EXPECT_TRUE(differs);
}

TEST_P(AdamWTest, UnusableStepsChangeNothing) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> bad = wave(kCount, 0.7);
  bad[20000] = kNan;
  for (const Step& step : {Step{.loss = kNan}, Step{.loss = kInfinity}, Step{.count = 0}, Step{.grad = bad}}) {
    Optimizer optimizer(device(), Dtype::f32);
    const std::vector<double> before = optimizer.all();
    EXPECT_EQ(optimizer.step(step).skipped, 1);
    EXPECT_EQ(optimizer.all(), before);
    EXPECT_EQ(optimizer.step({}).skipped, 0);
    EXPECT_NE(optimizer.all(), before);
  }
}

TEST_P(AdamWTest, RefusesF64OnAGpu) {
  if (device().type != DeviceType::cuda) return;
  EXPECT_THROW(Optimizer(device(), Dtype::f64).step({}), Error);
  EXPECT_NO_THROW(Optimizer(device(), Dtype::f32).step({}));
}

TEST_P(AdamWTest, GapsBetweenRangesStay) {
  Optimizer optimizer(device(), Dtype::f32);
  const std::vector<double> before = optimizer.master.to_host();
  optimizer.step({});
  const std::vector<double> after = optimizer.master.to_host();
  for (size_t i = 5; i < 64; ++i) EXPECT_EQ(after[i], before[i]);
  EXPECT_NE(after[4], before[4]);
  EXPECT_NE(after[64], before[64]);
}

TEST_P(AdamWTest, SameBitsForAnyThreadCount) {
  expect_same_bits_for_any_thread_count([&] {
    Optimizer optimizer(device(), Dtype::f32);
    optimizer.step({});
    return optimizer.all();
  });
}

MARA_ON_EVERY_DEVICE(AdamWTest);

}  // namespace
}  // namespace mara
