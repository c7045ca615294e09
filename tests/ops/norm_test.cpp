#include "ops/norm.h"

#include <gtest/gtest.h>

#include "op_cases.h"

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

class NormOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(NormOps);

TEST(NormGradients, MatchDifferences) { check_gradients(cases()); }
TEST_P(NormOps, MatchF64) { check_precision(cases(), device()); }

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
