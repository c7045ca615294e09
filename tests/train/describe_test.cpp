#include "train/describe.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "train/recipes.h"

namespace mara::train {
namespace {

int64_t resident_bytes() {
  int64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

const Description::Row& row(const std::vector<Description::Row>& rows, std::string_view name) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& r) { return r.name == name; });
  if (found == rows.end()) throw std::logic_error("no row " + std::string(name));
  return *found;
}

TEST(Describe, TakesNoMemoryForBillionsOfParameters) {
  const std::string before =
      "run: {name: x}\ntask: {kind: mqar, vocab: 50257, length: 2048}\nprecision: {compute: bf16}\n"
      "model: {kind: language_model, width: 4096, blocks: 32, vocab_multiple: 8, mixer: {kind: ";
  const std::string after = "}, mlp: {kind: gelu, ratio: 4}}\ntrain: {steps: 1, batch: 4}\n";
  for (const std::string mixer : {"attention, heads: 32", "hyena, filter: {width: 64}"}) {
    const Recipe recipe = parse_recipe(before + mixer + after);
    const int64_t resident = resident_bytes();
    const Description d = describe(recipe);
    EXPECT_LT(resident_bytes() - resident, int64_t{64} << 20);
    const int64_t D = 4096, block = 4 * D + (4 * D * D + 4 * D) + (8 * D * D + 5 * D), model = 50264 * D + 2 * D;
    int64_t expected = 32 * block + model;
    if (mixer.find("hyena") == 0) expected += 32 * (3 * D * 4 + D + (5 * 64 + 64) + 2 * (64 * 64 + 64) + 64 * D + 64);
    EXPECT_EQ(d.parameter_count, expected);
    EXPECT_GE(d.weight_bytes, expected * 10);  // f32 masters and gradients, bf16 copies
    EXPECT_LT(d.weight_bytes, expected * 10 + (int64_t{64} << 20));
    EXPECT_GE(d.optimizer_bytes, expected * 8);
    // At the very least each block saves its input and the MLP's hidden units: 2048 * 4 tokens.
    EXPECT_GT(d.activation_bytes, 32 * 2048 * 4 * (D * 4 + 4 * D * 2));
  }
}

TEST(Describe, RowsAreTheParameters) {
  const Description d = describe(test_recipe("hyena"));
  int64_t elements = 0;
  for (const Description::Row& r : d.parameters) elements += r.elements;
  EXPECT_EQ(elements, d.parameter_count);
  const Description::Row& in_proj = row(d.parameters, "blocks.*.mixer.in_proj.weight");
  EXPECT_EQ(in_proj.shape, (Shape{48, 16}));
  EXPECT_EQ(in_proj.copies, 2);
  EXPECT_EQ(in_proj.elements, 2 * 48 * 16);
  EXPECT_EQ(row(d.parameters, "embedding.table").copies, 1);
  EXPECT_EQ(row(d.constants, "blocks.*.mixer.filter.features").shape, (Shape{12, 5}));
  EXPECT_THROW(row(d.parameters, "blocks.*.mixer.filter.features"), std::logic_error);
}

TEST(Describe, FlopsByHand) {
  const int64_t D = 16, L = 16, V = 32;
  const auto flops = [&](int64_t blocks) {
    return describe(test_recipe("mqar", {"model.mixer={kind: attention}", "model.mlp.kind=gelu", "model.mlp.ratio=4",
                                         "model.blocks=" + std::to_string(blocks)}))
        .flops_per_token;
  };
  // Per token forward: 2 per weight, 2 D L for causal scores and values; backward: 4 per weight, 5 D L.
  const double block = 6.0 * (4 * D * D + 8 * D * D) + 7.0 * D * L, head = 6.0 * D * V;
  EXPECT_DOUBLE_EQ(flops(1), block + head);
  EXPECT_DOUBLE_EQ(flops(3), 3 * block + head);
}

TEST(Describe, FlopsOfSystemsByHand) {
  const auto flops = [](const char* kind, int state) {
    return describe(test_recipe("mqar", {"model.blocks=1", std::string("model.mixer={kind: ") + kind +
                                                               ", ssm: {state: " + std::to_string(state) + "}}"}))
        .flops_per_token;
  };
  // D = 16 systems of 4 more modes, 16 taps of each (the period of S4 is 16 too), for 16 sequences of 16 tokens.
  EXPECT_NEAR(flops("s4d", 24) - flops("s4d", 16), (8 + 16) * 16 * 4 * 16 / 256.0, 1e-9);
  EXPECT_NEAR(flops("s4", 24) - flops("s4", 16), (32 + 64) * 16 * 4 * 16 / 256.0, 1e-9);
}

TEST(Describe, SaysWhatIsDecayedAndLearnsAtItsOwnRate) {
  const auto line = [](const std::string& name, const std::vector<std::string>& overrides) {
    const Recipe recipe = test_recipe("s4d", overrides);
    const std::string text = summary_text(describe(recipe), recipe);
    const size_t begin = text.find("  " + name + " ");
    return text.substr(begin, text.find('\n', begin) - begin);
  };
  const std::string step = "blocks.*.mixer.ssm.log_dt", gain = "norm.gain", matrix = "blocks.*.mlp.in.weight";
  using testing::EndsWith;
  EXPECT_THAT(line(step, {"optim.lr=0.01"}), EndsWith("f32, lr x 0.1"));
  EXPECT_THAT(line(step, {"optim.lr=0.01", "model.mixer.ssm.max_lr=0.005", "optim.decay=all"}),
              EndsWith("f32, lr x 0.5"));
  EXPECT_THAT(line(step, {"optim.lr=0.001"}), EndsWith("  f32"));
  EXPECT_THAT(line(gain, {}), EndsWith("  f32"));
  EXPECT_THAT(line(gain, {"optim.decay=all"}), EndsWith("  f32, decayed"));
  EXPECT_THAT(line(matrix, {}), EndsWith("  decayed"));
  EXPECT_THAT(line(matrix, {"optim.weight_decay=0"}), EndsWith(" 1,024"));
}

TEST(Describe, RecomputeAndMicroBatchesSaveActivations) {
  const auto activations = [](const std::vector<std::string>& overrides) {
    return describe(test_recipe("hyena", overrides)).activation_bytes;
  };
  const int64_t plain = activations({"model.blocks=6"});
  EXPECT_LT(activations({"model.blocks=6", "train.recompute=block"}), plain);
  EXPECT_LT(activations({"model.blocks=6", "train.micro_batch=4"}), plain);
}

TEST(Describe, ActivationsAreWhatAStepTakes) {
  const Recipe recipe = test_recipe("attention_rotary");
  const int64_t described = describe(recipe).activation_bytes, taken = Trainer(recipe, kCpu).step(0).memory;
  EXPECT_NEAR(static_cast<double>(taken), static_cast<double>(described), 0.25 * static_cast<double>(described));
}

TEST(Describe, TextNamesEverything) {
  const Recipe recipe = test_recipe("hyena");
  const std::string text = to_text(describe(recipe), recipe);
  for (const std::string part : {"blocks.*.mixer.in_proj.weight", "trainable parameters", "optimiser state",
                                 "activations", "per token", "Resolved recipe", "warmup: 10"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
  }
  const std::string options = options_text();
  for (const std::string key :
       {"run.name: text, required", "model(language_model).mixer(hyena).filter.width: integer",
        "mixer(attention).heads", "task(mqar).num_pairs", "train.stop_when.accuracy", "schedule.warmup"}) {
    EXPECT_NE(options.find(key), std::string::npos) << key;
  }
}

}  // namespace
}  // namespace mara::train
