#include "ops/select.h"

#include <gtest/gtest.h>

#include <limits>

#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;

OpCase selecting(const std::string& name, const Shape& mask_shape) {
  return {name, {{{2, 3, 4}}, {{2, 3, 4}}}, [mask_shape](const In& x) {
            std::vector<int32_t> mask(static_cast<size_t>(mask_shape.numel()));
            for (size_t i = 0; i < mask.size(); ++i) mask[i] = i % 3 != 1;
            return ops::select(Tensor::from(mask, mask_shape, x[0].device()), x[0], x[1]);
          }};
}

std::vector<OpCase> cases() {
  return {selecting("by element", {2, 3, 4}), selecting("by row", {2, 3}), selecting("by matrix", {2}),
          selecting("all", {})};
}

class SelectOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(SelectOps);

TEST(SelectGradients, MatchDifferences) { check_gradients(cases()); }
TEST_P(SelectOps, MatchF64) { check_precision(cases(), device()); }

TEST_P(SelectOps, InfinityOnTheSideNotTakenStaysThere) {
  const double inf = std::numeric_limits<double>::infinity();
  const In inputs{Tensor::from(Values{inf, 2}, {2}, Dtype::f32, device()),
                  Tensor::from(Values{3, inf}, {2}, Dtype::f32, device())};
  const Tensor mask = Tensor::from(std::vector<int32_t>{0, 1}, {2}, device());
  const Derivative d = differentiate([&](const In& in) { return ops::select(mask, in[0], in[1]); }, inputs);
  const Values dy = noise(2, 99);
  EXPECT_EQ(d.value, (Values{3, 2}));
  EXPECT_EQ(d.gradients, (std::vector<Values>{{0, dy[1]}, {dy[0], 0}}));

  const Tensor weight = Tensor::from(Values{0, 1}, {2}, Dtype::f32, device());
  EXPECT_TRUE(std::isnan(ops::mul(inputs[0], weight).to_host()[0]));  // what blending with 0 and 1 would do
}

}  // namespace
}  // namespace mara
