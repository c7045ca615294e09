#include "ops/reduce.h"

#include <gtest/gtest.h>

#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;

std::vector<OpCase> cases() {
  std::vector<OpCase> out{
      {"sum of a vector", {{{7}}}, [](const In& x) { return ops::sum(x[0], 0); }},
      {"sum_all", {{{2, 3, 4}}}, [](const In& x) { return ops::sum_all(x[0]); }},
      {"sum_all of one", {{{1}}}, [](const In& x) { return ops::sum_all(x[0]); }},
  };
  for (const int axis : {0, 1, 2, -1, -3}) {
    const std::string name = "over axis " + std::to_string(axis);
    out.push_back({"sum " + name, {{{2, 3, 4}}}, [axis](const In& x) { return ops::sum(x[0], axis); }});
    out.push_back({"mean " + name, {{{2, 3, 4}}}, [axis](const In& x) { return ops::mean(x[0], axis); }});
  }
  return out;
}

class ReduceOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(ReduceOps);

TEST(ReduceGradients, MatchDifferences) { check_gradients(cases()); }
TEST_P(ReduceOps, MatchF64) { check_precision(cases(), device()); }

TEST_P(ReduceOps, ShapesAndValues) {
  const Tensor x = Tensor::from(Values{1, 2, 3, 4, 5, 6}, {2, 3}, Dtype::f32, device());
  EXPECT_EQ(ops::sum(x, 0).to_host(), (Values{5, 7, 9}));
  EXPECT_EQ(ops::sum(x, -1).to_host(), (Values{6, 15}));
  EXPECT_EQ(ops::mean(x, 1).to_host(), (Values{2, 5}));
  EXPECT_EQ(ops::sum_all(x).item(), 21);
  EXPECT_EQ(ops::sum_all(x).shape(), Shape{1});
  EXPECT_EQ(ops::sum(x.reshape({6}), 0).shape(), Shape{});
}

}  // namespace
}  // namespace mara
