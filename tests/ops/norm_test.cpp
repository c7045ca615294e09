#include "ops/norm.h"

#include <gtest/gtest.h>

#include "autograd/recompute.h"
#include "op_cases.h"
#include "ops/reduce.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;

std::vector<OpCase> cases() {
  const Argument x{{2, 3, 8}}, vector{{8}, Argument::parameter};
  return {
      {"layer_norm",
       {x, vector, vector},
       [](const In& x) { return ops::layer_norm(x[0], x[1], x[2], 1e-5, x[0].dtype()); }},
      {"layer_norm, large eps",
       {x, vector, vector},
       [](const In& x) { return ops::layer_norm(x[0], x[1], x[2], 0.5, x[0].dtype()); }},
      {"layer_norm to the wide dtype",
       {x, vector, vector},
       [](const In& x) { return ops::layer_norm(x[0], x[1], x[2], 1e-5, compute_dtype(x[0].dtype())); }},
      {"rms_norm", {x, vector}, [](const In& x) { return ops::rms_norm(x[0], x[1], 1e-5, x[0].dtype()); }},
      {"rms_norm without gain", {x}, [](const In& x) { return ops::rms_norm(x[0], {}, 1e-5, x[0].dtype()); }},
      {"rms_norm, one row", {{{8}}, vector}, [](const In& x) { return ops::rms_norm(x[0], x[1], 0.1, x[0].dtype()); }},
      {"softmax", {x}, [](const In& x) { return ops::softmax(x[0]); }},
      {"softmax of one entry", {{{4, 1}}}, [](const In& x) { return ops::softmax(x[0]); }},
  };
}

// Norms of a sum, x[1] being the branch; both outputs are used, so that two gradients meet in the sum.
std::vector<OpCase> branch_cases(bool fused) {
  const Argument x{{2, 3, 8}}, vector{{8}, Argument::parameter};
  const auto product = [](const ops::SumAndNorm& both) { return ops::mul(both.sum, both.normed); };
  const Function layer = [=](const In& x) {
    const Dtype out = x[0].dtype();
    if (fused) return product(ops::add_layer_norm(x[0], x[1], x[2], x[3], 1e-5, out));
    const Tensor sum = ops::add(x[0], x[1]);
    return product({sum, ops::layer_norm(sum, x[2], x[3], 1e-5, out)});
  };
  const Function rms = [=](const In& x) {
    const Dtype out = x[0].dtype();
    const Tensor gain = x.size() > 2 ? x[2] : Tensor();
    if (fused) return product(ops::add_rms_norm(x[0], x[1], gain, 1e-5, out));
    const Tensor sum = ops::add(x[0], x[1]);
    return product({sum, ops::rms_norm(sum, gain, 1e-5, out)});
  };
  return {{"add_layer_norm", {x, x, vector, vector}, layer},
          {"add_rms_norm", {x, x, vector}, rms},
          {"add_rms_norm without gain", {x, x}, rms}};
}

class NormOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(NormOps);

TEST(NormGradients, MatchDifferences) {
  check_gradients(cases());
  check_gradients(branch_cases(true));
}
TEST_P(NormOps, MatchF64) {
  check_precision(cases(), device());
  check_precision(branch_cases(true), device());
}

TEST_P(NormOps, OfASumIsTheNormOfTheSum) {
  const std::vector<OpCase> fused = branch_cases(true), plain = branch_cases(false);
  for (size_t i = 0; i < fused.size(); ++i) {
    check_same(fused[i], plain[i].fn, device());
    // The residual stream: f32, with bf16 branches. Also the order of the tape is the same.
    std::vector<Tensor> inputs = make_inputs(fused[i], Dtype::f32, device());
    inputs[1] = ops::cast(inputs[1], Dtype::bf16);
    const Derivative actual = differentiate(fused[i].fn, inputs), expected = differentiate(plain[i].fn, inputs);
    EXPECT_EQ(actual.value, expected.value) << fused[i].name;
    EXPECT_EQ(actual.gradients, expected.gradients) << fused[i].name;
    const Derivative again = differentiate([&](const In& x) { return recompute(fused[i].fn, x); }, inputs);
    EXPECT_EQ(again.gradients, expected.gradients) << fused[i].name;
  }
}

// In a residual block the norm's gradient is added to the stream's, without a temporary: only the stream, its gradient
// and the branch's are there at once.
TEST(NormMemory, AddsToTheGradientThatIsThere) {
  constexpr int64_t kBytes = 4096 * 8;
  const Tensor values = Tensor::from(noise(4096, 1), {64, 64}, Dtype::f64, kCpu);
  const auto peak = [&](const Function& norm) {
    Pool pool(kCpu);
    const PoolScope scope(pool);
    Tape tape;
    const Tensor x = tape.source(values);
    Tensor loss;
    {
      const Recording recording(tape);
      const Tensor h = ops::scale(x, 2);
      loss = ops::sum_all(ops::add(h, ops::scale(norm({h}), 3)));
    }
    pool.reset_peak();
    tape.backward(loss);
    return pool.peak_bytes() / kBytes;
  };
  EXPECT_EQ(peak([](const In& h) { return ops::rms_norm(h[0], {}, 1e-5, Dtype::f64); }), 3);
  EXPECT_EQ(peak([](const In& h) { return ops::sin(h[0]); }), 4) << "control: an op that cannot add";
}

TEST_P(NormOps, OutputDtypeIsTheOneAskedFor) {
  const Tensor x = Tensor::from(noise(16, 1), {2, 8}, Dtype::bf16, device());
  const Tensor gain = Tensor::from(noise(8, 2), {8}, Dtype::f32, device());
  for (const Dtype out : {Dtype::f32, Dtype::bf16}) {
    EXPECT_EQ(ops::layer_norm(x, gain, gain, 1e-5, out).dtype(), out);
    EXPECT_EQ(ops::rms_norm(x, gain, 1e-5, out).dtype(), out);
  }
}

TEST_P(NormOps, SoftmaxOfLargeNumbers) {
  const Tensor x = Tensor::from(Values{1e4, 1e4, -1e4}, {1, 3}, Dtype::f32, device());
  EXPECT_EQ(ops::softmax(x).to_host(), (Values{0.5, 0.5, 0}));
}

}  // namespace
}  // namespace mara
