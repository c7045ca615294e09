// Models read token by token give what they give of the whole sequence.

#include <numeric>

#include "models/model_under_test.h"
#include "ops/shape_ops.h"

namespace mara::models {
namespace {

constexpr int64_t kLength = 40, kVocabulary = 13;

Tensor columns(const Tensor& ids, int64_t begin, int64_t count) {
  return ops::contiguous(ops::slice(ids, 1, begin, count));
}

/// The logits after each portion, and which positions these are.
struct Portions {
  Portions(const ModelUnderTest& m, const std::vector<int64_t>& sizes) {
    Generation generation = m.model->start(3, std::accumulate(sizes.begin(), sizes.end(), int64_t{0}));
    for (const int64_t size : sizes) {
      const Tensor ids = columns(m.batch.ids, generation.length, size);
      logits.push_back(
          (size == 1 ? m.model->step(ids.reshape({3}), generation) : m.model->prefill(ids, generation)).to_host());
      positions.push_back(generation.length - 1);
    }
  }
  std::vector<std::vector<double>> logits;
  std::vector<int64_t> positions;
};

/// The greatest difference to the whole sequence's logits, relative to their rms.
double worst_difference(const ModelUnderTest& m, const Portions& portions) {
  const std::vector<double> whole = m.logits();
  const double rms = std::sqrt(nn::dot(whole, whole) / static_cast<double>(whole.size()));
  const auto classes = static_cast<int64_t>(portions.logits[0].size()) / 3;
  double worst = 0;
  for (size_t p = 0; p < portions.logits.size(); ++p) {
    for (int64_t row = 0; row < 3; ++row) {
      for (int64_t v = 0; v < classes; ++v) {
        const double expected =
            whole[static_cast<size_t>((row * m.setup.length + portions.positions[p]) * classes + v)];
        worst = std::max(worst, std::fabs(portions.logits[p][static_cast<size_t>(row * classes + v)] - expected));
      }
    }
  }
  return worst / rms;
}

const std::string kWidth = "width: 16, blocks: 3, init_std: 0.3, ";
const std::vector<std::string> kModels = {
    kWidth + kHyena,
    kWidth + "norm: rms, positions: learned, mlp: {kind: swiglu}, " + kHyena,
    kWidth + "mixer: {kind: hyena, order: 3, inner_factor: 2, activation: gelu, filter: {width: 8}}",
    kWidth + "mlp: {kind: none}, vocab_multiple: 8, tie_head: false, " + kAttention,
    kWidth + "positions: learned, " + kAttention,
    kWidth + "positions: rotary, " + kAttention,
};

std::vector<std::vector<int64_t>> ways_to_read() {
  std::vector<std::vector<int64_t>> out{std::vector<int64_t>(kLength, 1), {17, 5, 1, 1, 11, 3, 1, 1}, {1, 38, 1}};
  for (int64_t prompt = 1; prompt <= kLength; ++prompt) out.push_back({prompt});  // every position as a prompt's last
  return out;
}

TEST(Generation, IsTheWholeSequenceRead) {
  for (const std::string& options : kModels) {
    const ModelUnderTest m(options, Dtype::f32, kCpu, kVocabulary, kLength);
    for (const std::vector<int64_t>& sizes : ways_to_read()) {
      EXPECT_LT(worst_difference(m, Portions(m, sizes)), 1e-5) << options << " " << sizes.size() << " " << sizes[0];
    }
    Portions late(m, std::vector<int64_t>(kLength - 1, 1));  // control: logits of the position before
    for (int64_t& position : late.positions) ++position;
    EXPECT_GT(worst_difference(m, late), 1e-2) << options;
  }
}

TEST(Generation, AtTheSizeOfRecipes) {
  constexpr int64_t kLong = 256;
  for (const std::string& mixer : {kHyena, std::string("mixer: {kind: attention, heads: 4}")}) {
    const ModelUnderTest m("width: 128, blocks: 2, " + mixer, Dtype::f32, kCpu, 259, kLong);
    EXPECT_LT(worst_difference(m, Portions(m, {kLong - 1, 1})), 1e-5) << mixer;
    EXPECT_LT(worst_difference(m, Portions(m, {1, kLong - 2, 1})), 1e-5) << mixer;
    Portions late(m, {kLong - 1});  // control: logits of the position before
    late.positions[0] = kLong - 1;
    EXPECT_GT(worst_difference(m, late), 1e-2) << mixer;
  }
}

TEST(Generation, InOtherPrecisions) {
  for (const std::string& options : kModels) {
    for (const auto& [dtype, limit] : {std::pair{Dtype::f64, 1e-12}, {Dtype::bf16, 0.15}}) {
      const ModelUnderTest m(options, dtype, kCpu, kVocabulary, kLength);
      EXPECT_LT(worst_difference(m, Portions(m, {17, 5, 1, 1, 11, 3, 1, 1})), limit) << options;
    }
  }
}

TEST(Generation, RecordsNothing) {
  for (const bool hyena : {true, false}) {
    const ModelUnderTest m(both("", hyena));
    Tape tape;
    const Recording recording(tape);
    Generation generation = m.model->start(3, 8);
    m.model->prefill(columns(m.batch.ids, 0, 4), generation);
    m.model->step(columns(m.batch.ids, 4, 1).reshape({3}), generation);
    EXPECT_TRUE(tape.leaves().empty());
    m.model->logits(m.batch.ids, {});  // control
    EXPECT_FALSE(tape.leaves().empty());
  }
}

TEST(Generation, Refusals) {
  const ModelUnderTest m(both("", true));
  EXPECT_THROW(m.model->start(1, 9), Error);  // made for 8
  Generation generation = m.model->start(3, 6);
  m.model->prefill(columns(m.batch.ids, 0, 5), generation);
  EXPECT_THROW(m.model->prefill(columns(m.batch.ids, 5, 2), generation), Error);                     // of 6
  EXPECT_THROW(m.model->step(Tensor::from(std::vector<int32_t>(2), {2}, kCpu), generation), Error);  // 3 rows
  EXPECT_NO_THROW(m.model->prefill(columns(m.batch.ids, 5, 1), generation));
  for (const bool hyena : {true, false}) {
    const ModelUnderTest bidirectional(both("causal: false, ", hyena));
    try {
      bidirectional.model->start(1, 8);
      FAIL();
    } catch (const Error& e) {
      const std::string place = std::string("in block 0: ") + (hyena ? "hyena" : "attention");
      EXPECT_NE(std::string(e.what()).find(place), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace mara::models
