#include "ops/attention.h"

#include <gtest/gtest.h>

#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;
using Attention = Tensor (*)(const Tensor&, int64_t, bool);

std::vector<OpCase> attentions(Attention op) {
  std::vector<OpCase> out;
  for (const int64_t heads : {1, 3}) {
    for (const bool causal : {true, false}) {
      for (const int64_t length : {1, 7, 70}) {  // below and beyond one tile
        const std::string name =
            std::to_string(heads) + " heads, " + (causal ? "causal" : "full") + ", length " + std::to_string(length);
        out.push_back({name, {{{2, length, 3 * heads * 4}}}, [=](const In& x) { return op(x[0], heads, causal); }});
      }
    }
  }
  return out;
}

std::vector<OpCase> rotations() {
  std::vector<OpCase> out;
  for (const int64_t dim : {2, 4, 6}) {
    out.push_back({"rotary " + std::to_string(dim), {{{2, 5, 36}}}, [dim](const In& x) {
                     return ops::rotary(x[0], 2, dim, 100);
                   }});
  }
  out.push_back({"rotary attention", {{{2, 5, 36}}}, [](const In& x) {
                   return ops::attention(ops::rotary(x[0], 2, 6, 100), 2, true);
                 }});
  return out;
}

class AttentionOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(AttentionOps);

TEST(AttentionGradients, MatchDifferences) {
  check_gradients(attentions(ops::attention));
  check_gradients(rotations());
}
TEST_P(AttentionOps, MatchF64) {
  check_precision(attentions(ops::attention), device());
  check_precision(rotations(), device());
}
TEST_P(AttentionOps, FusedIsComposed) {
  const std::vector<OpCase> fused = attentions(ops::attention), composed = attentions(ops::attention_composed);
  for (size_t i = 0; i < fused.size(); ++i) check_same(fused[i], composed[i].fn, device());
}

TEST_P(AttentionOps, CausalRowsDoNotSeeWhatFollows) {
  const Values values = noise(8 * 12, 1);
  const auto first_rows = [&](const Values& qkv, bool causal) {
    const Tensor y = ops::attention(Tensor::from(qkv, {1, 8, 12}, Dtype::f32, device()), 1, causal);
    return y.reshape({8, 4}).narrow(0, 5).to_host();
  };
  Values changed = values;
  for (size_t i = 5 * 12; i < changed.size(); ++i) changed[i] = -changed[i];
  EXPECT_EQ(first_rows(values, true), first_rows(changed, true));
  EXPECT_NE(first_rows(values, false), first_rows(changed, false));
}

}  // namespace
}  // namespace mara
