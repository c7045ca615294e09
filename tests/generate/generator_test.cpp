#include "generate/generator.h"

#include "models/model_under_test.h"

namespace mara::generate {
namespace {

using models::ModelUnderTest;
using Rows = std::vector<std::vector<int32_t>>;

constexpr int64_t kLength = 24, kVocabulary = 13;
const Rows kPrompts = {{3, 1, 4, 1, 5}, {9}, {2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2}};

ModelUnderTest model(bool hyena, const std::string& options = "") {
  return ModelUnderTest("width: 16, blocks: 2, init_std: 0.4, positions: learned, " + options +
                            (hyena ? models::kHyena : models::kAttention),
                        Dtype::f32, kCpu, kVocabulary, kLength);
}

Rows run(const ModelUnderTest& m, const Rows& prompts, const SamplerOptions& sampler = {},
         const GeneratorOptions& options = {.max_tokens = 10, .vocabulary = kVocabulary},
         const OnToken& on_token = {}) {
  return generate(*m.model, kCpu, prompts, Sampler(sampler), options, on_token);
}

/// The likeliest tokens, the whole sequence read anew for each.
std::vector<int32_t> by_rereading(const ModelUnderTest& m, std::vector<int32_t> ids, int64_t count) {
  const NoGrad no_grad;
  std::vector<int32_t> out;
  for (; count > 0; --count) {
    const Tensor logits = m.model->logits(Tensor::from(ids, {1, static_cast<int64_t>(ids.size())}, kCpu), {});
    const std::vector<double> values = logits.to_host();
    const auto last = values.end() - kVocabulary;
    out.push_back(static_cast<int32_t>(std::max_element(last, values.end()) - last));
    ids.push_back(out.back());
  }
  return out;
}

TEST(Generator, PromptsOfDifferentLengthsAreAsIfAlone) {
  for (const bool hyena : {true, false}) {
    const ModelUnderTest m = model(hyena);
    const Rows together = run(m, kPrompts, {.temperature = 0});
    for (size_t i = 0; i < kPrompts.size(); ++i) {
      EXPECT_EQ(together[i], by_rereading(m, kPrompts[i], 10));
      EXPECT_EQ(together[i], run(m, {kPrompts[i]}, {.temperature = 0})[0]);
    }
    EXPECT_NE(together[0], together[1]);  // control
  }
}

TEST(Generator, DrawsDoNotDependOnOtherRows) {
  for (const bool hyena : {true, false}) {
    const ModelUnderTest m = model(hyena);
    const Rows drawn = run(m, kPrompts);
    EXPECT_EQ(drawn[0], run(m, {kPrompts[0]})[0]);
    EXPECT_EQ(drawn[1], run(m, {kPrompts[2], kPrompts[1]})[1]);
    EXPECT_NE(drawn[0], run(m, {kPrompts[0]}, {.seed = 2})[0]);
    const Rows twice = run(m, {kPrompts[0], kPrompts[0]});
    EXPECT_NE(twice[0], twice[1]);  // several samples of one prompt
  }
}

/// Notes how many tokens it is given at once, each row's next token being the one after its last.
class Counting final : public models::Model {
 public:
  ops::Loss loss(const models::Batch&, const nn::Context&, bool) override { return {}; }
  Tensor logits(const Tensor&, const nn::Context&) override { return {}; }
  int64_t vocabulary() const override { return kVocabulary; }
  models::Generation start(int64_t, int64_t) const override { return {}; }
  Tensor prefill(const Tensor& ids, models::Generation&) const override {
    read.push_back({ids.size(0), ids.size(1)});
    const std::vector<int32_t> tokens = ids.to_host_i32();
    std::vector<double> logits(static_cast<size_t>(ids.size(0) * kVocabulary));
    for (int64_t row = 0; row < ids.size(0); ++row) {
      const int32_t last = tokens[static_cast<size_t>((row + 1) * ids.size(1) - 1)];
      logits[static_cast<size_t>(row * kVocabulary + (last + 1) % kVocabulary)] = 1;
    }
    return Tensor::from(logits, {ids.size(0), kVocabulary}, Dtype::f32, kCpu);
  }

  mutable std::vector<std::pair<int64_t, int64_t>> read;  // rows, tokens of each
};

TEST(Generator, ReadsEveryPromptAtOnce) {
  const Counting model;
  const GeneratorOptions options{.max_tokens = 3, .vocabulary = kVocabulary, .stop = 9};
  EXPECT_EQ(generate(model, kCpu, {{1, 2, 3, 4}, {5}, {9, 9, 9, 6}}, Sampler({.temperature = 0}), options),
            (Rows{{5, 6, 7}, {6, 7, 8}, {7, 8, 9}}));
  const std::vector<std::pair<int64_t, int64_t>> one_length_after_another = {{1, 1}, {1, 1}, {1, 1},
                                                                             {2, 4}, {2, 1}, {2, 1}};
  EXPECT_EQ(model.read, one_length_after_another);
}

TEST(Generator, TellsEveryTokenAsItComes) {
  const ModelUnderTest m = model(true);
  Rows told(kPrompts.size());
  const Rows drawn = run(m, kPrompts, {}, {.max_tokens = 7, .vocabulary = kVocabulary},
                         [&](size_t prompt, int32_t token) { told[prompt].push_back(token); });
  EXPECT_EQ(told, drawn);
  for (const auto& row : drawn) EXPECT_EQ(row.size(), 7u);
}

TEST(Generator, StopsARowAtTheStopToken) {
  const ModelUnderTest m = model(false);
  const Rows free = run(m, kPrompts);
  const int32_t stop = free[0][4];
  const Rows stopped = run(m, kPrompts, {}, {.max_tokens = 10, .vocabulary = kVocabulary, .stop = stop});
  for (size_t i = 0; i < free.size(); ++i) {
    const auto first = std::find(free[i].begin(), free[i].end(), stop);
    EXPECT_EQ(stopped[i], std::vector<int32_t>(free[i].begin(), first == free[i].end() ? first : first + 1)) << i;
  }
  EXPECT_LE(stopped[0].size(), 5u);
  Rows ends_in_stop = kPrompts;  // a prompt may hold it
  ends_in_stop[0].push_back(stop);
  EXPECT_GE(run(m, ends_in_stop, {}, {.max_tokens = 2, .vocabulary = kVocabulary, .stop = stop})[0].size(), 1u);
}

TEST(Generator, NeverDrawsPaddedTokens) {
  const ModelUnderTest m = model(true, "vocab_multiple: 8, tie_head: false, ");
  std::vector<double> head = nn::parameter(*m.model, "head").master().to_host();
  ASSERT_EQ(head.size(), 16u * 16);
  for (size_t i = 0; i < 16; ++i) {  // whatever the hidden state, one of the rows 13 and 14 has the greatest logit
    head[13 * 16 + i] = 100 * std::sin(1.0 + static_cast<double>(i));
    head[14 * 16 + i] = -head[13 * 16 + i];
  }
  nn::assign(*m.model, "head", head);
  for (const double temperature : {0.0, 1.0}) {
    for (const auto& row : run(m, kPrompts, {.temperature = temperature})) {
      for (const int32_t token : row) EXPECT_LT(token, kVocabulary);
    }
  }
  const GeneratorOptions control{.max_tokens = 1, .vocabulary = 16};
  EXPECT_GE(run(m, {{1}}, {.temperature = 0}, control)[0][0], kVocabulary);
}

TEST(Generator, GoesToTheEndOfTheModelAndNoFurther) {
  const ModelUnderTest m = model(true);
  const auto of = [&](int64_t prompt, int64_t count) {
    return run(m, {{1}, std::vector<int32_t>(static_cast<size_t>(prompt), 1)}, {},
               {.max_tokens = count, .vocabulary = kVocabulary});
  };
  EXPECT_EQ(of(kLength, 1)[1].size(), 1u);
  EXPECT_EQ(of(kLength - 3, 4)[0].size(), 4u);
  EXPECT_THROW(of(kLength, 2), Error);
  EXPECT_THROW(of(kLength + 1, 1), Error);
}

TEST(Generator, RefusesWhatItCannotRead) {
  const ModelUnderTest m = model(true);
  for (const Rows& prompts : {Rows{}, {{}}, {{1}, {}}, {{1, 13}}, {{-1}}}) EXPECT_THROW(run(m, prompts), Error);
  EXPECT_THROW(run(m, {{1}}, {}, {.max_tokens = 0, .vocabulary = kVocabulary}), Error);
}

}  // namespace
}  // namespace mara::generate
