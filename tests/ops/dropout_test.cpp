#include "ops/dropout.h"

#include <gtest/gtest.h>

#include "core/random.h"
#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;

// The step number, where kernels read it.
class Step {
 public:
  explicit Step(int64_t step, Device device) : number_(Tensor::empty({2}, Dtype::i32, device)) {
    runtime(device).copy_to_device(number_.view().data, &step, sizeof step);
  }
  RandomStream stream() const { return {.seed = 7, .step = number_.view().ptr<int64_t>()}; }

 private:
  Tensor number_;
};

Function dropped(double p, const Step& step) {
  return [p, &step](const In& x) {
    RandomStream stream = step.stream();
    const RandomScope scope(stream);
    return ops::dropout(x[0], p);
  };
}

class DropoutOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(DropoutOps);

TEST(DropoutGradients, MatchDifferences) {
  const Step step(3, kCpu);
  check_gradients({{"0.25", {{{3, 7}}}, dropped(0.25, step)}, {"0.9", {{{3, 7}}}, dropped(0.9, step)}});
}

TEST_P(DropoutOps, ForwardAndBackwardDrawTheSameMask) {
  const Step step(0, device());
  const auto of_ones = [&](Dtype dtype) {
    return differentiate(dropped(0.25, step), {Tensor::from(Values(10000, 1.0), {10000}, dtype, device())});
  };
  const Derivative d = of_ones(Dtype::f32), rounded = of_ones(Dtype::bf16);
  const Values dy = noise(10000, 99);
  double kept = 0;
  for (size_t i = 0; i < dy.size(); ++i) {
    EXPECT_TRUE(d.value[i] == 0 || d.value[i] == 4.0f / 3);
    EXPECT_EQ(d.gradients[0][i], d.value[i] == 0 ? 0 : static_cast<float>(dy[i]) / 0.75f);
    EXPECT_EQ(rounded.value[i], d.value[i] == 0 ? 0 : 1.3359375);
    EXPECT_EQ(rounded.gradients[0][i] == 0, d.value[i] == 0);
    kept += d.value[i] != 0;
  }
  EXPECT_NEAR(kept / 10000, 0.75, 0.02);  // 4.6 standard deviations
}

TEST_P(DropoutOps, MaskIsAFunctionOfStepAndOp) {
  const Tensor x = Tensor::from(Values(100, 1.0), {100}, Dtype::f32, device());
  const Step first(0, device()), second(1, device());
  RandomStream stream = first.stream(), next_step = second.stream();
  const auto draw = [&](RandomStream& from) {
    const RandomScope scope(from);
    return ops::dropout(x, 0.5).to_host();
  };
  const Values a = draw(stream), b = draw(stream);
  EXPECT_EQ(stream.next_op, 2u);
  EXPECT_NE(a, b);
  EXPECT_NE(a, draw(next_step));
  stream.next_op = 0;
  EXPECT_EQ(a, draw(stream));
}

TEST_P(DropoutOps, WithoutProbabilityNothingHappens) {
  const Tensor x = Tensor::from(noise(4, 1), {4}, Dtype::f32, device());
  EXPECT_EQ(ops::dropout(x, 0).storage(), x.storage());  // also without a random stream
  EXPECT_THROW(ops::dropout(x, 0.5), std::logic_error);
}

}  // namespace
}  // namespace mara
