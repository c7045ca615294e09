#include "ops/gather.h"

#include <gtest/gtest.h>

#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;
using Ids = std::vector<int32_t>;

std::vector<OpCase> cases() {
  std::vector<OpCase> out;
  for (const int axis : {0, 1, 2, -2}) {
    out.push_back({"gather on axis " + std::to_string(axis), {{{4, 4, 4}}}, [axis](const In& x) {
                     return ops::gather(x[0], axis, Tensor::from(Ids{3, 0, 3, 3, 1}, {5}, x[0].device()));
                   }});
  }
  out.push_back(
      {"embedding", {{{6, 3}}}, [](const In& x) {
         return ops::embedding(x[0], Tensor::from(Ids{5, 1, 5, 0, 5, 1}, {2, 3}, x[0].device()), x[0].dtype());
       }});
  out.push_back(
      {"embedding of a parameter", {{{6, 3}, Argument::parameter}, {{4, 3}}}, [](const In& x) {
         return ops::mul(x[1], ops::embedding(x[0], Tensor::from(Ids{5, 1, 5, 0}, {4}, x[0].device()), x[1].dtype()));
       }});
  return out;
}

class GatherOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(GatherOps);

TEST(GatherGradients, MatchDifferences) { check_gradients(cases()); }
TEST_P(GatherOps, MatchF64) { check_precision(cases(), device()); }

TEST_P(GatherOps, RepeatedIdsAddUp) {
  const Tensor table = Tensor::from(Values{1, 2, 3, 4, 5, 6}, {3, 2}, Dtype::f32, device());
  const Tensor ids = Tensor::from(Ids{2, 0, 2}, {1, 3}, device());
  const Derivative d = differentiate([&](const In& in) { return ops::embedding(in[0], ids, Dtype::f32); }, {table});
  EXPECT_EQ(d.value, (Values{5, 6, 1, 2, 5, 6}));
  const Values dy = noise(6, 99);
  EXPECT_EQ(d.gradients[0], (Values{dy[2], dy[3], 0, 0, dy[0] + dy[4], dy[1] + dy[5]}));
  EXPECT_EQ(ops::embedding(table, ids, Dtype::bf16).shape(), (Shape{1, 3, 2}));
  EXPECT_EQ(ops::embedding(table, ids, Dtype::bf16).dtype(), Dtype::bf16);
}

}  // namespace
}  // namespace mara
