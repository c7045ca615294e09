#include "weights/names.h"

#include <fstream>

#include "core/thrown.h"
#include "models/language_model.h"
#include "train/recipes.h"

namespace mara::weights {
namespace {

std::string names_in(const std::string& which, const train::Recipe& recipe) {
  const std::unique_ptr<models::Model> model = recipe.model.options->make(recipe.model_setup());
  const NameMap map(which, *model);
  std::string out;
  for (const NamedParameter& named : map.parameters()) {
    out += named.theirs[0] + " " + to_string(named.shape);
    for (size_t i = 1; i < named.theirs.size(); ++i) out += " = " + named.theirs[i];
    out += "\n";
  }
  return out;
}

std::string complaint(const std::string& which, const train::Recipe& recipe) {
  return message_of<Error>([&] { names_in(which, recipe); });
}

// The published 150 M model, with the options its recipe needs.
TEST(Names, SafariAtItsPublishedSize) {
  const std::vector<std::string> published = {"task.length=2046",
                                              "model.width=864",
                                              "model.blocks=18",
                                              "model.vocab=50257",
                                              "model.vocab_multiple=8",
                                              "model.mlp.ratio=2",
                                              "model.mixer.filter.width=64",
                                              "model.mixer.filter.features=33",
                                              "model.mixer.filter.frequency=14"};
  const std::string all = names_in("safari", train::test_recipe("hyena", published));
  const std::string expected =
      "backbone.embeddings.word_embeddings.weight (50264, 864) = lm_head.weight\n"
      "backbone.layers.0.norm1.weight (864)\n"
      "backbone.layers.0.norm1.bias (864)\n"
      "backbone.layers.0.mixer.short_filter.weight (2592, 1, 3)\n"
      "backbone.layers.0.mixer.short_filter.bias (2592)\n"
      "backbone.layers.0.mixer.filter_fn.bias (864)\n"
      "backbone.layers.0.mixer.in_proj.weight (2592, 864)\n"
      "backbone.layers.0.mixer.in_proj.bias (2592)\n"
      "backbone.layers.0.mixer.out_proj.weight (864, 864)\n"
      "backbone.layers.0.mixer.out_proj.bias (864)\n"
      "backbone.layers.0.mixer.filter_fn.pos_emb.z (1, 2048, 33)\n"
      "backbone.layers.0.mixer.filter_fn.pos_emb.t (1, 2048, 1)\n"
      "backbone.layers.0.mixer.filter_fn.implicit_filter.1.freq (1, 64)"
      " = backbone.layers.0.mixer.filter_fn.implicit_filter.3.freq"
      " = backbone.layers.0.mixer.filter_fn.implicit_filter.5.freq\n"
      "backbone.layers.0.mixer.filter_fn.modulation.deltas (1, 1, 864)\n"
      "backbone.layers.0.mixer.filter_fn.implicit_filter.0.weight (64, 33)\n"
      "backbone.layers.0.mixer.filter_fn.implicit_filter.0.bias (64)\n"
      "backbone.layers.0.mixer.filter_fn.implicit_filter.2.weight (64, 64)\n"
      "backbone.layers.0.mixer.filter_fn.implicit_filter.2.bias (64)\n"
      "backbone.layers.0.mixer.filter_fn.implicit_filter.4.weight (64, 64)\n"
      "backbone.layers.0.mixer.filter_fn.implicit_filter.4.bias (64)\n"
      "backbone.layers.0.mixer.filter_fn.implicit_filter.6.weight (864, 64)\n"
      "backbone.layers.0.norm2.weight (864)\n"
      "backbone.layers.0.norm2.bias (864)\n"
      "backbone.layers.0.mlp.fc1.weight (1728, 864)\n"
      "backbone.layers.0.mlp.fc1.bias (1728)\n"
      "backbone.layers.0.mlp.fc2.weight (864, 1728)\n"
      "backbone.layers.0.mlp.fc2.bias (864)\n"
      "backbone.layers.1.norm1.weight (864)\n";
  EXPECT_EQ(all.substr(0, expected.size()), expected);
  const std::string last =
      "backbone.layers.17.mlp.fc2.bias (864)\nbackbone.ln_f.weight (864)\nbackbone.ln_f.bias (864)\n";
  EXPECT_EQ(all.substr(all.size() - last.size()), last);
}

TEST(Names, H3HasAttentionAndNoHyena) {
  const std::string names = names_in("h3", train::test_recipe("induction", {"model.mixer.bias=true"}));
  for (const char* part :
       {"backbone.layers.1.mixer.Wqkv.weight (48, 16)\n", "backbone.layers.0.mixer.Wqkv.bias (48)\n",
        "backbone.layers.0.mixer.out_proj.bias (16)\n", "backbone.embeddings.position_embeddings.weight (14, 16)\n"}) {
    EXPECT_NE(names.find(part), std::string::npos) << part << names;
  }
  EXPECT_EQ(names, names_in("safari", train::test_recipe("induction", {"model.mixer.bias=true"})));
  EXPECT_NE(complaint("h3", train::test_recipe("hyena")).find("no Hyena layers; use --names safari"),
            std::string::npos);
}

TEST(Names, WhatALayoutCannotSay) {
  const std::string swiglu = complaint("safari", train::test_recipe("hyena", {"model.mlp.kind=swiglu"}));
  for (const char* part : {"has no name for", "\n  blocks.0.mlp.value.weight", "\n  blocks.1.mlp.value.bias"}) {
    EXPECT_NE(swiglu.find(part), std::string::npos) << swiglu;
  }
  EXPECT_EQ(swiglu.find("mlp.in"), std::string::npos);
  EXPECT_NE(complaint("safari", train::test_recipe("attention_rotary")).find("model.positions=rotary"),
            std::string::npos);
}

class NamesFile : public testing::Test {
 protected:
  std::string file(const std::string& text) {
    std::ofstream(folder_ / "names.yaml") << text;
    return (folder_ / "names.yaml").string();
  }
  TemporaryFolder folder_;
  train::Recipe recipe_ = train::test_recipe("mqar", {"model.blocks=1", "model.tie_head=false"});
};

TEST_F(NamesFile, FirstRuleThatFits) {
  const std::string names = names_in(file("embedding.table: [wte, also.wte]\n"
                                          "blocks.{i}.mixer.short_weight: conv{i}/layer.{i} [1, a, b, 1]\n"
                                          "blocks.{i}.mixer.filter.forward.layer{j}.*: net.{j}.of.{i}.*\n"
                                          "'*': 'rest.*'\n"
                                          "ignored: ['buffer.{i}', 'x*']\n"),
                                     recipe_);
  for (const char* part : {"wte (32, 16) = also.wte\n", "conv0/layer.0 (1, 48, 3, 1)\n", "net.2.of.0.bias (16)\n",
                           "rest.blocks.0.mixer.short_bias (48)\n", "rest.head (32, 16)\n"}) {
    EXPECT_NE(names.find(part), std::string::npos) << part << names;
  }
  const std::unique_ptr<models::Model> model = recipe_.model.options->make(recipe_.model_setup());
  const NameMap map((folder_ / "names.yaml").string(), *model);
  for (const char* name : {"buffer.12", "x", "xyz"}) EXPECT_TRUE(map.ignored(name)) << name;
  for (const char* name : {"buffer.", "buffer.1a", "ax"}) EXPECT_FALSE(map.ignored(name)) << name;
}

TEST_F(NamesFile, WhatIsWrongWithOne) {
  const struct {
    std::string text, says;
  } cases[] = {
      {"'*': 'a*b'", "names.yaml:1: a*b: * may stand at the end only"},
      {"'a.{i': b", "one letter and } are required"},
      {"'a.{ij}': b", "one letter and } are required"},
      {"'a.{i}': 'b.{j}'", "{j} does not stand in a.{i}"},
      {"'a': 'b.*'", "* does not stand in a"},
      {"\nembedding.table: x [b, a]", "names.yaml:2: axes [b, a]: the letters a, b, ... in order"},
      {"embedding.table: x [a]", "axes [a]: the parameter's shape is (32, 16)"},
      {"embedding.table: x [a, b, c]", "axes [a, b, c]: the parameter's shape is (32, 16)"},
      {"embedding.table: x [a, b", "the axes must end with ]"},
      {"embedding.table: x [1, 1, 1, 1, a, b]", "at most 5 axes"},
      {"embedding.table: [x, 'y [1, a, b]', 'z [a, b]']", "have the same axes"},
      {"embedding.table: []", "a name is required, the list is empty"},
      {"embedding.table: ''", "a name is required, got none"},
      {"embedding.table: 'a\xff'", "a name in UTF-8 without control characters is required, got a\\xff"},
      {"embedding.table: \"a\\e\"", "without control characters is required, got a\\x1b"},
      {"embedding.table: {a: b}", "a name or a list of names is required"},
      {"embedding.table: [[a]]", "a name or a list of names is required"},
      {"- a", "a mapping of `ours: theirs` is required"},
      {"'*': same", "are both called same"},
      {"'*': '*'\nhead: never", "names.yaml:2: head: this model has no parameter that fits and is not named before"},
      {"'*': '*'\nother: x", "not named before; leave it out"},
      {"blocks.{i}.norm3.gain: 'n{i}'\n'*': '*'", "did you mean 'blocks.0.norm1.gain'?"},
      {"head: x", "has no name for these parameters:\n  embedding.table"},
      {"a: b\na: c", "a"},
  };
  for (const auto& c : cases) {
    const std::string said = complaint(file(c.text), recipe_);
    EXPECT_NE(said.find(c.says), std::string::npos) << c.text << "\n" << said;
    EXPECT_NE(said, "nothing was thrown") << c.text;
  }
  // '*' alone may have nothing to name, and a rule for the other name of a shared tensor is used.
  const train::Recipe tied = train::test_recipe("mqar", {"model.blocks=1"});
  std::string all;
  for (const char* line : {"norm.*: 'norm.*'", "embedding.*: 'e.*'", "head: head", "blocks.{i}.*: 'b.{i}.*'"}) {
    all += std::string(line) + "\n";
  }
  EXPECT_EQ(complaint(file(all + "'*': 'rest.*'"), tied), "nothing was thrown");
  EXPECT_NE(complaint(file(all + "positions: p"), tied), "nothing was thrown");
  EXPECT_NE(complaint(file("head: 'head [1, a, b]'\n'*': '*'"), tied).find("names of one tensor have the same axes"),
            std::string::npos);
  EXPECT_NE(complaint("sfari", recipe_).find("own, safari, h3 or a file is required"), std::string::npos);
  EXPECT_NE(complaint(folder_.path().string(), recipe_).find("this is a folder"), std::string::npos);
  EXPECT_NE(complaint(file("# " + std::string(2 << 20, 'x')), recipe_).find("at most 1048576 bytes"),
            std::string::npos);
}

TEST(Names, OldFiles) {
  const train::Recipe recipe = train::test_recipe("hyena");
  const std::unique_ptr<models::Model> model = recipe.model.options->make(recipe.model_setup());
  const std::vector<std::string> old = {"s4seq.encoder.norm.weight",
                                        "model.s4seq.encoder.layers.0.norm1.bias",
                                        "s4seq.encoder.layers.0.norm2.weight",
                                        "s4seq.encoder.layers.10.norm1.weight",
                                        "s4seq.encoder.layers.10.norm2.weight",
                                        "s4seq.encoder.layers.10.mixer.output_linear.bias",
                                        "embedding.weight",
                                        "other"};
  const auto now = NameMap("safari", *model).current_names(old);
  const std::vector<std::string> expected = {"backbone.layers.0.norm1.weight",
                                             "backbone.layers.0.norm2.bias",
                                             "backbone.layers.1.norm1.weight",
                                             "backbone.layers.10.norm2.weight",
                                             "backbone.ln_f.weight",
                                             "backbone.layers.10.mixer.out_proj.bias",
                                             "backbone.embeddings.word_embeddings.weight",
                                             "other"};
  for (size_t i = 0; i < old.size(); ++i) EXPECT_EQ(now.at(old[i]), expected[i]) << old[i];
  for (const auto& [name, current] : NameMap("own", *model).current_names(old)) EXPECT_EQ(name, current);
  const std::vector<std::string> current = {"backbone.layers.0.norm1.weight", "backbone.ln_f.weight"};
  for (const auto& [name, same] : NameMap("safari", *model).current_names(current)) EXPECT_EQ(name, same);
}

}  // namespace
}  // namespace mara::weights
