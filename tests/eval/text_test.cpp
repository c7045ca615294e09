// Evaluation on text: which tokens are scored, and what bits per byte are.

#include <cmath>
#include <map>
#include <numeric>

#include "data/shards.h"
#include "devices.h"
#include "eval/examples.h"
#include "kernels/loss.h"

namespace mara::eval {
namespace {

/// A model that loses `id` / 100 nats on target `id` and takes note of what it was asked to predict, from how much.
struct Note : models::Model {
  ops::Loss loss(const models::Batch& batch, const nn::Context&, bool) override {
    const std::vector<int32_t> ids = batch.ids.to_host_i32(), targets = batch.targets.to_host_i32();
    std::vector<double> losses(targets.size());
    const int64_t length = batch.ids.size(1);
    for (size_t i = 0; i < targets.size(); ++i) {
      if (targets[i] == kernels::kIgnoredTarget) continue;
      losses[i] = targets[i] / 100.0;
      scored_.push_back(targets[i]);
      context_.push_back(static_cast<int64_t>(i) % length + 1);
    }
    const double sum = std::accumulate(losses.begin(), losses.end(), 0.0);
    const int64_t count = batch.targets.numel();
    return {Tensor::from(std::vector{sum}, {1}, Dtype::f64, kCpu),
            {},
            Tensor::from(losses, {count}, Dtype::f64, kCpu),
            Tensor::from(ids, {count}, kCpu)};
  }
  Tensor logits(const Tensor&, const nn::Context&) override { return {}; }
  int64_t vocabulary() const override { return 0; }

  std::vector<int32_t> scored_;
  std::vector<int64_t> context_;
};

class TextEvaluation : public testing::Test {
 protected:
  /// 21 tokens: 0, 1, ..., 9, separator, 10, ..., 18, separator.
  TextEvaluation() {
    data::ShardWriter writer(folder_.path(), "text", data::bytes(), "", 8);
    for (const int32_t first : {0, 10}) {
      std::vector<int32_t> document(first == 0 ? 10 : 9);
      std::iota(document.begin(), document.end(), first);
      writer.append(document);
      writer.end_document();
      tokens_.insert(tokens_.end(), document.begin(), document.end());
      tokens_.push_back(256);
    }
    writer.finish();
    source_.emplace(std::vector{(folder_ / "text-*").string()}, data::bytes(), "--data");
  }
  Examples examples(const Windows& windows) { return text_examples(*source_, data::bytes(), windows); }

  TemporaryFolder folder_;
  std::vector<int32_t> tokens_;
  std::optional<data::TokenSource> source_;
};

TEST_F(TextEvaluation, WindowsScoreEveryTokenOnce) {
  Note model;
  const Evaluation e = evaluate(model, examples({.length = 5}), 3, kCpu);
  EXPECT_EQ(e.examples, 4);
  EXPECT_EQ(e.scored, 20);
  EXPECT_EQ(model.scored_, std::vector<int32_t>(tokens_.begin() + 1, tokens_.end()));
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(model.context_[i], static_cast<int64_t>(i) % 5 + 1);
  // What is shorter than a window at the end is left out.
  Note six;
  EXPECT_EQ(evaluate(six, examples({.length = 6}), 3, kCpu).scored, 18);
}

TEST_F(TextEvaluation, SlidingWindowsGiveContext) {
  Note model;
  const Evaluation e = evaluate(model, examples({.length = 8, .stride = 3}), 2, kCpu);
  EXPECT_EQ(e.scored, 20);  // 8 + 4 * 3
  EXPECT_EQ(model.scored_, std::vector<int32_t>(tokens_.begin() + 1, tokens_.end()));
  for (size_t i = 8; i < 20; ++i) EXPECT_EQ(model.context_[i], 6 + static_cast<int64_t>(i - 8) % 3);
}

TEST_F(TextEvaluation, BitsPerByteAreOfTheText) {
  Note model;
  const Evaluation e = evaluate(model, examples({.length = 5}), 3, kCpu);
  const double text = 18 * 19 / 2 / 100.0, separators = 2 * 2.56;  // 1 + ... + 18, without the first token, 0
  EXPECT_DOUBLE_EQ(e.loss, (text + separators) / 20);
  EXPECT_EQ(e.bytes, 18);
  ASSERT_TRUE(e.bits_per_byte);
  EXPECT_DOUBLE_EQ(*e.bits_per_byte, text / 18 / std::log(2));
  EXPECT_DOUBLE_EQ(e.perplexity(), std::exp(e.loss));
  EXPECT_EQ(quality_text(e), "0.137 bits per byte");
  EXPECT_EQ(quality_text({.accuracy = 0.5}), "accuracy 50.00 %");
}

TEST_F(TextEvaluation, FewWindowsAreSpreadOverTheText) {
  Note model;
  EXPECT_EQ(evaluate(model, examples({.length = 2, .count = 3}), 3, kCpu).examples, 3);
  EXPECT_EQ(model.scored_, (std::vector{tokens_[1], tokens_[2], tokens_[7], tokens_[8], tokens_[13], tokens_[14]}));
  EXPECT_EQ(examples({.length = 2, .count = 1000}).count, 10);
}

TEST_F(TextEvaluation, SaysWhatCannotBe) {
  EXPECT_EQ(examples({.length = 20}).count, 1);
  data::expect_parts(data::error_of([&] { examples({.length = 21}); }),
                     {"more than 21 tokens", "got 21", "text-00000.h5"});
  data::expect_parts(data::error_of([&] { examples({.length = 5, .stride = 6}); }),
                     {"stride from 1 to the window's 5", "6"});
}

}  // namespace
}  // namespace mara::eval
