#include "ops/short_conv.h"

#include <gtest/gtest.h>

#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;

Tensor optional(const In& x, size_t i) { return i < x.size() ? x[i] : Tensor(); }
Tensor fused(const In& x) { return ops::short_conv(x[0], x[1], optional(x, 2), optional(x, 3)); }
Tensor composed(const In& x) { return ops::short_conv_composed(x[0], x[1], optional(x, 2), optional(x, 3)); }

std::vector<OpCase> cases() {
  std::vector<OpCase> out;
  for (const int64_t taps : {1, 3, 6, 9}) {  // up to longer than the row
    const std::string name = std::to_string(taps) + " taps";
    const Argument u{{3, 2, 6}}, weight{{3, taps}, Argument::parameter}, bias{{3}, Argument::parameter};
    out.push_back({name, {u, weight}, fused});
    out.push_back({name + " and bias", {u, weight, bias}, fused});
    out.push_back({name + " and two biases", {u, weight, bias, bias}, fused});
  }
  out.push_back({"long rows", {{{2, 2, 150}}, {{2, 4}, Argument::parameter}, {{2}, Argument::parameter}}, fused});
  return out;
}

class ShortConvOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(ShortConvOps);

TEST(ShortConvGradients, MatchDifferences) { check_gradients(cases()); }
TEST_P(ShortConvOps, MatchF64) { check_precision(cases(), device()); }
TEST_P(ShortConvOps, FusedIsComposed) {
  for (const OpCase& c : cases()) check_same(c, composed, device());
}
TEST(ShortConvGradients, OfTheComposedFormMatchDifferences) {
  for (OpCase& c : cases()) {
    c.fn = composed;
    if (c.arguments[0].shape[2] < 100) check_gradients({c});
  }
}

}  // namespace
}  // namespace mara
