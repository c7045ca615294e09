// Weights out and in again.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "checkpoint/checkpoint.h"
#include "core/thrown.h"
#include "io/hdf5_file.h"
#include "io/safetensors.h"
#include "train/recipes.h"
#include "weights/export.h"
#include "weights/import.h"
#include "weights/logits.h"
#include "weights/weights_file.h"

namespace mara::weights {
namespace {

using train::Recipe;

class Weights : public testing::Test {
 protected:
  /// A checkpoint after two steps, so that nothing is at its initial value.
  std::filesystem::path trained(const Recipe& recipe, const std::string& name = "trained.h5") {
    train::Trainer trainer(recipe, kCpu);
    for (int64_t step = 0; step < 2; ++step) trainer.step(step);
    const checkpoint::StateFunction state = [&](StateVisitor& v) { trainer.state(v); };
    checkpoint::Snapshot snapshot(state);
    snapshot.capture(state);
    snapshot.write(folder_ / name, config::to_yaml(recipe), std::nullopt);
    return folder_ / name;
  }
  std::string logits(const std::filesystem::path& checkpoint) {
    const train::LoadedModel loaded = train::load_model(checkpoint, kCpu);
    if (loaded.model->vocabulary() == 0) {  // it predicts no tokens: its numbers themselves
      const std::vector<double> numbers = loaded.arena->master().to_host();
      return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(double)};
    }
    std::ofstream(folder_ / "tokens.txt") << "1 2 3 4 5 6 7 8\n\n 0\t3 \r\n";
    std::vector<Sequence> sequences =
        read_sequences(folder_ / "tokens.txt", loaded.model->vocabulary(), loaded.recipe.model_setup().length);
    if (loaded.recipe.run.name == "test_hyena_order3") sequences.pop_back();  // its lengths are even
    write_logits(loaded, sequences, folder_ / "logits.safetensors", io::Existing::replace);
    return train::read_file(folder_ / "logits.safetensors");
  }
  void export_to(const std::string& name, const std::string& names = "own", std::optional<Dtype> dtype = {}) {
    const train::LoadedModel loaded = train::load_model(folder_ / "trained.h5", kCpu);
    export_weights(loaded, {.to = folder_ / name, .names = names, .dtype = dtype, .force = true});
  }
  std::string import_error(const Recipe& recipe, const std::string& name, const std::string& names = "own") {
    return message_of<Error>([&] {
      import_weights(recipe, {.from = folder_ / name, .to = folder_ / "imported.h5", .names = names, .force = true});
    });
  }
  /// A copy of an exported file, changed.
  using Tensors = std::map<std::string, std::pair<io::SafetensorsWriter::Declared, std::vector<std::byte>>>;
  void change(const std::string& from, const std::string& to, const std::function<void(Tensors&)>& change) {
    const io::SafetensorsReader file(folder_ / from);
    Tensors tensors;
    for (const io::SafeTensor& tensor : file.tensors()) {
      std::vector<std::byte> bytes(static_cast<size_t>(tensor.bytes.end - tensor.bytes.begin));
      file.read(tensor, 0, bytes);
      tensors[tensor.name] = {{tensor.name, tensor.dtype, tensor.shape}, bytes};
    }
    change(tensors);
    std::vector<io::SafetensorsWriter::Declared> declared;
    for (auto& [name, tensor] : tensors) {
      tensor.first.name = name;
      declared.push_back(tensor.first);
    }
    std::filesystem::remove(folder_ / to);
    io::SafetensorsWriter writer(folder_ / to, declared, {});
    for (const auto& [name, tensor] : tensors) writer.write(name, tensor.second);
  }

  TemporaryFolder folder_;
};

TEST_F(Weights, RoundTripOfEveryTestRecipe) {
  for (const std::filesystem::path& path : train::recipe_files("tests")) {
    const Recipe recipe = Recipe::load(path.string());
    const std::string expected = logits(trained(recipe));
    for (const std::string file : {"w.safetensors", "w.h5"}) {
      for (const std::string names : {"own", "safari"}) {
        const std::string where = path.stem().string() + " " + file + " " + names;
        // Swiglu, rotary, mixers other than Hyena and attention, and models that are no language models.
        static const std::set<std::string> kUnsayable = {
            "test_hyena_heads", "test_hyena_order3", "test_attention_rotary",
            "test_h3",          "test_h3_conv",      "test_long_conv",
            "test_multi_hyena", "test_s4",           "test_s4d"};
        if (names == "safari" && (kUnsayable.contains(recipe.run.name) || recipe.model.kind != "language_model")) {
          EXPECT_THROW(export_to(file, names), Error) << where;
          continue;
        }
        export_to(file, names);
        EXPECT_EQ(import_error(recipe, file, names), "nothing was thrown") << where;
        EXPECT_EQ(logits(folder_ / "imported.h5"), expected) << where;
      }
    }
    EXPECT_NE(logits(trained(Recipe::load(path.string(), {"run.seed=2"}))), expected);  // control
  }
}

TEST_F(Weights, WideModelsKeepTheirBits) {
  const Recipe recipe = train::test_recipe("hyena", {"precision.compute=f64"});
  const std::string expected = logits(trained(recipe));
  export_to("w.safetensors", "safari");
  EXPECT_EQ(import_error(recipe, "w.safetensors", "safari"), "nothing was thrown");
  EXPECT_EQ(logits(folder_ / "imported.h5"), expected);
  export_to("w.h5", "own", Dtype::f32);
  EXPECT_EQ(import_error(recipe, "w.h5"), "nothing was thrown");
  EXPECT_NE(logits(folder_ / "imported.h5"), "");
}

TEST_F(Weights, HalfIsForWhatMayBeRounded) {
  const Recipe recipe = train::test_recipe("hyena");
  trained(recipe);
  export_to("w.safetensors", "own", Dtype::bf16);
  const io::SafetensorsReader file(folder_ / "w.safetensors");
  EXPECT_EQ(file.find("blocks.0.mlp.in.weight")->dtype, "BF16");
  for (const char* name : {"blocks.0.mlp.in.bias", "norm.gain", "blocks.1.mixer.filter.features",
                           "blocks.1.mixer.filter.forward.layer1.weight", "blocks.0.mixer.short_weight"}) {
    EXPECT_EQ(file.find(name)->dtype, "F32") << name;
  }
  EXPECT_EQ(import_error(recipe, "w.safetensors"), "nothing was thrown");
}

TEST_F(Weights, SayWhereTheyAreFrom) {
  const Recipe recipe = train::test_recipe("hyena");
  trained(recipe);
  export_to("w.safetensors", "safari");
  const io::SafetensorsReader file(folder_ / "w.safetensors");
  EXPECT_EQ(file.metadata().at("recipe"), config::to_yaml(recipe));
  EXPECT_EQ(file.metadata().at("step"), "2");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  const std::string tied = file.metadata().at("tied");
  EXPECT_EQ(tied.find("[[\"lm_head.weight\",\"backbone.embeddings.word_embeddings.weight\"]"), 0u) << tied;
  EXPECT_NE(tied.find("[\"backbone.layers.1.mixer.filter_fn.implicit_filter.5.freq\","
                      "\"backbone.layers.1.mixer.filter_fn.implicit_filter.1.freq\"]"),
            std::string::npos)
      << tied;
  for (const char* name : {"lm_head.weight", "backbone.layers.1.mixer.filter_fn.implicit_filter.5.freq"}) {
    ASSERT_NE(file.find(name), nullptr) << name;  // strict readers want every name
  }
  export_to("w.h5");
  const io::Hdf5Reader hdf5(folder_ / "w.h5", io::FileKind::weights);
  EXPECT_EQ(hdf5.text("recipe"), config::to_yaml(recipe));
  EXPECT_EQ(hdf5.text("tied"), "[[\"head\",\"embedding.table\"]]");
}

TEST_F(Weights, ImportedRunsAreResumed) {
  const Recipe recipe = train::test_recipe("hyena");
  trained(recipe);
  export_to("w.safetensors");
  EXPECT_EQ(import_error(recipe, "w.safetensors"), "nothing was thrown");
  train::Trainer trainer(recipe, kCpu);
  const double initial = train::Trainer(recipe, kCpu).evaluate(tasks::Split::valid, 16).loss;
  trainer.resume(checkpoint::Checkpoint(folder_ / "imported.h5"));
  EXPECT_NE(trainer.evaluate(tasks::Split::valid, 16).loss, initial);
  EXPECT_EQ(trainer.step(0).step, 1);
  EXPECT_THROW(train::Trainer(train::test_recipe("hyena", {"optim.lr=0.1"}), kCpu)
                   .resume(checkpoint::Checkpoint(folder_ / "imported.h5")),
               Error);
}

TEST_F(Weights, EveryDifferenceInOneError) {
  trained(train::test_recipe("hyena"));
  export_to("w.safetensors");
  const std::string said =
      import_error(train::test_recipe("hyena", {"model.tie_head=false", "model.mlp.ratio=4", "model.mixer.skip=false"}),
                   "w.safetensors");
  for (const char* part : {"w.safetensors: does not fit this recipe's model:", "\n  head: missing, ",
                           "\n  blocks.1.mlp.in.weight: F32, BF16, F16 or F64 of shape (64, 16) is required, there is "
                           "F32 of shape (32, 16)",
                           "\n  blocks.0.mixer.skip: F32 of shape (16) is there, nothing here has this name",
                           "\nuse the recipe the weights were made with"}) {
    EXPECT_NE(said.find(part), std::string::npos) << part << said;
  }
  EXPECT_EQ(said.find(" more\n"), std::string::npos) << said;
  export_to("theirs.safetensors", "safari");
  const struct {
    std::string file, names, hint;
  } cases[] = {{"theirs.safetensors", "own", "its names look like safari: use --names safari"},
               {"w.safetensors", "safari", "its names look like own: use --names own"}};
  for (const auto& c : cases) {
    const std::string text = import_error(train::test_recipe("hyena"), c.file, c.names);
    EXPECT_NE(text.find("more\n" + c.hint), std::string::npos) << text;
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + 20 + 1);
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "imported.h5"));
}

TEST_F(Weights, SharedTensorsAndBuffers) {
  const Recipe recipe = train::test_recipe("hyena");
  const std::string expected = logits(trained(recipe));
  export_to("w.safetensors", "safari");
  const std::string embedding = "backbone.embeddings.word_embeddings.weight";
  const std::string filter = "backbone.layers.0.mixer.filter_fn.";
  change("w.safetensors", "once.safetensors", [&](Tensors& t) {
    t.erase("lm_head.weight");
    for (const char* sine : {"3", "5"}) t.erase(filter + "implicit_filter." + sine + ".freq");
  });
  EXPECT_EQ(import_error(recipe, "once.safetensors", "safari"), "nothing was thrown");
  EXPECT_EQ(logits(folder_ / "imported.h5"), expected);
  change("w.safetensors", "alias.safetensors", [&](Tensors& t) {  // under its other name only, and no buffers
    for (const char* sine : {"1", "3"}) t.erase(filter + "implicit_filter." + sine + ".freq");
    for (const char* buffer : {"pos_emb.z", "pos_emb.t", "modulation.deltas"}) t.erase(filter + buffer);
  });
  EXPECT_EQ(import_error(recipe, "alias.safetensors", "safari"), "nothing was thrown");
  EXPECT_EQ(logits(folder_ / "imported.h5"), expected);
  change("w.safetensors", "unlike.safetensors", [&](Tensors& t) { t["lm_head.weight"].second[0] ^= std::byte{1}; });
  EXPECT_NE(import_error(recipe, "unlike.safetensors", "safari").find("--set model.tie_head=false"), std::string::npos);
  EXPECT_EQ(import_error(train::test_recipe("hyena", {"model.tie_head=false"}), "unlike.safetensors", "safari"),
            "nothing was thrown");
  EXPECT_EQ(import_error(train::test_recipe("hyena", {"model.mixer.filter.modulate=false"}), "w.safetensors", "safari"),
            "nothing was thrown");  // the decay is there and not used
}

// As the oldest files of safari have them.
TEST_F(Weights, QueriesKeysAndValuesApart) {
  const Recipe recipe = train::test_recipe("induction", {"model.mixer.bias=true"});
  const std::string expected = logits(trained(recipe));
  export_to("w.safetensors", "safari");
  const std::string mixer = "backbone.layers.1.mixer.";
  const auto split = [&](Tensors& t) {
    for (const std::string what : {"weight", "bias"}) {
      auto [declared, bytes] = t.at(mixer + "Wqkv." + what);
      t.erase(mixer + "Wqkv." + what);
      declared.shape[0] /= 3;
      const auto size = static_cast<std::ptrdiff_t>(bytes.size() / 3);
      for (int i = 0; i < 3; ++i) {
        t[mixer + "qkv"[i] + "_proj." + what] = {declared, {bytes.begin() + i * size, bytes.begin() + (i + 1) * size}};
      }
    }
  };
  change("w.safetensors", "apart.safetensors", split);
  EXPECT_EQ(import_error(recipe, "apart.safetensors", "safari"), "nothing was thrown");
  EXPECT_EQ(logits(folder_ / "imported.h5"), expected);
  change("w.safetensors", "other.safetensors", [&](Tensors& t) {  // the control: queries and keys change places
    split(t);
    std::swap(t[mixer + "q_proj.weight"], t[mixer + "k_proj.weight"]);
  });
  EXPECT_EQ(import_error(recipe, "other.safetensors", "safari"), "nothing was thrown");
  EXPECT_NE(logits(folder_ / "imported.h5"), expected);
  change("apart.safetensors", "two.safetensors", [&](Tensors& t) { t.erase(mixer + "k_proj.weight"); });
  EXPECT_NE(import_error(recipe, "two.safetensors", "safari").find("Wqkv.weight: missing"), std::string::npos);
  change("apart.safetensors", "mixed.safetensors", [&](Tensors& t) {
    auto& [declared, bytes] = t[mixer + "v_proj.bias"];
    declared.dtype = "BF16";
    bytes.resize(bytes.size() / 2);
  });
  EXPECT_NE(import_error(recipe, "mixed.safetensors", "safari")
                .find("v_proj.bias: F32, BF16, F16 or F64 of shape (16) "
                      "like " +
                      mixer + "q_proj.bias is required"),
            std::string::npos);
  for (const std::string names : {"h3", "own"}) {
    EXPECT_NE(import_error(recipe, "apart.safetensors", names), "nothing was thrown") << names;
  }
}

TEST_F(Weights, LogitsAreFinite) {
  const Recipe recipe = train::test_recipe("hyena");
  trained(recipe);
  export_to("w.safetensors");
  change("w.safetensors", "huge.safetensors", [](Tensors& t) {
    const std::vector<float> huge(16, 3e38f);
    std::memcpy(t["norm.gain"].second.data(), huge.data(), 16 * sizeof(float));
  });
  EXPECT_EQ(import_error(recipe, "huge.safetensors"), "nothing was thrown");
  EXPECT_NE(logits(folder_ / "trained.h5"), "");  // the control
  std::filesystem::remove(folder_ / "logits.safetensors");
  const std::string said = message_of<Error>([&] { logits(folder_ / "imported.h5"); });
  EXPECT_NE(said.find("imported.h5: its logits for line 1 are not all finite"), std::string::npos) << said;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    EXPECT_NE(entry.path().filename().string().find("logits"), 0u) << entry.path();
  }
}

TEST_F(Weights, NumbersOfOtherKinds) {
  const Recipe recipe = train::test_recipe("hyena");
  trained(recipe);
  export_to("w.safetensors");
  const auto set_gain = [&](const std::string& dtype, const void* values, size_t bytes) {
    change("w.safetensors", "changed.safetensors", [&](Tensors& t) {
      auto& [declared, data] = t["norm.gain"];
      declared.dtype = dtype;
      data.assign(static_cast<const std::byte*>(values), static_cast<const std::byte*>(values) + bytes);
    });
    return import_error(recipe, "changed.safetensors");
  };
  const auto gain = [&] {
    const io::Hdf5Reader file(folder_ / "imported.h5", io::FileKind::checkpoint);
    return file.read<float>(*file.find("norm.gain"));
  };
  const uint16_t half[16] = {0x3c00, 0xc000, 0x0001, 0x8000, 0x7bff, 0x03ff, 0x0400, 0x3555};
  EXPECT_EQ(set_gain("F16", half, sizeof half), "nothing was thrown");
  const std::vector<float> widened = {1, -2, 0x1p-24f, -0.0f, 65504, 0x3ffp-24f, 0x1p-14f, 0x1.554p-2f};
  const std::vector<float> read = gain();
  EXPECT_EQ(std::vector<float>(read.begin(), read.begin() + 8), widened);
  const uint16_t not_finite[16] = {0, 0, 0x7c00};
  EXPECT_NE(set_gain("F16", not_finite, sizeof not_finite).find("norm.gain: element 2 is not a finite f32"),
            std::string::npos);
  const double wide[16] = {1.0 / 3, 1e300};
  EXPECT_NE(set_gain("F64", wide, sizeof wide).find("norm.gain: element 1 is not a finite f32"), std::string::npos);
  const double fits[16] = {1.0 / 3, 1e30};
  EXPECT_EQ(set_gain("F64", fits, sizeof fits), "nothing was thrown");
  EXPECT_EQ(gain()[0], static_cast<float>(1.0 / 3));
  float nan[16] = {};
  nan[15] = NAN;
  EXPECT_NE(set_gain("F32", nan, sizeof nan).find("element 15 is not a finite"), std::string::npos);
  const int32_t whole[16] = {1};
  EXPECT_NE(set_gain("I32", whole, sizeof whole)
                .find("norm.gain: F32, BF16, F16 or F64 of shape (16) is required, there "
                      "is I32 of shape (16)"),
            std::string::npos);
}

TEST_F(Weights, FilesThatAreNone) {
  const Recipe recipe = train::test_recipe("hyena");
  trained(recipe);
  EXPECT_NE(import_error(recipe, "trained.h5").find("a weights file is required, this is a checkpoint"),
            std::string::npos);
  std::ofstream(folder_ / "text.safetensors") << "not safetensors";
  EXPECT_NE(import_error(recipe, "text.safetensors").find("safetensors are required"), std::string::npos);
  EXPECT_NE(import_error(recipe, "w.bin").find("ends in .safetensors or .h5"), std::string::npos);
  EXPECT_NE(import_error(recipe, "absent.h5").find("absent.h5"), std::string::npos);
  export_to("w.h5");
  export_to("w.safetensors");
  const std::string kept = train::read_file(folder_ / "w.h5");
  EXPECT_THROW(export_weights(train::load_model(folder_ / "trained.h5", kCpu), {.to = folder_ / "w.h5"}), Error);
  EXPECT_EQ(train::read_file(folder_ / "w.h5"), kept);
  for (const char* file : {"w.h5", "w.safetensors"}) {
    const std::string said = message_of<Error>([&] { train::load_model(folder_ / file, kCpu); });
    EXPECT_NE(said.find("mara import"), std::string::npos) << said;
  }
  std::ofstream(folder_ / "slash.yaml") << "'*': 'a/*'";
  EXPECT_THROW(export_to("slash.h5", (folder_ / "slash.yaml").string()), Error);
  export_to("slash.safetensors", (folder_ / "slash.yaml").string());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "slash.h5"));
}

TEST_F(Weights, ForceReplacesItsOwnKind) {
  const Recipe recipe = train::test_recipe("hyena");
  trained(recipe);
  export_to("w.h5");
  export_to("w.safetensors");
  EXPECT_EQ(import_error(recipe, "w.h5"), "nothing was thrown");  // makes imported.h5
  std::ofstream(folder_ / "foreign.h5") << "something else";
  std::filesystem::create_directory(folder_ / "folder.h5");
  std::filesystem::create_directory(folder_ / "folder.safetensors");
  std::filesystem::copy(folder_ / "trained.h5", folder_ / "trained.safetensors");
  const Target weights{}, safetensors{.hdf5 = std::nullopt},
      checkpoint{.safetensors = false, .hdf5 = io::FileKind::checkpoint};
  const struct {
    std::string file;
    Target target;
    std::string says;
  } cases[] = {
      {"w.h5", weights, "nothing was thrown"},
      {"w.safetensors", weights, "nothing was thrown"},
      {"w.safetensors", safetensors, "nothing was thrown"},
      {"imported.h5", checkpoint, "nothing was thrown"},
      {"trained.h5", weights, "--force replaces only a weights file, this is a checkpoint"},
      {"trained.safetensors", safetensors, "--force replaces only a safetensors file, this is a checkpoint"},
      {"w.h5", checkpoint, "--force replaces only a checkpoint, this is a weights file"},
      {"foreign.h5", weights, "this is none"},
      {"folder.h5", weights, "this is a folder's"},
      {"folder.safetensors", safetensors, "this is a folder's"},
      {"none/w.h5", weights, "there is no folder"},
      {"new.h5", safetensors, "ends in .safetensors is required"},
      {"new.safetensors", checkpoint, "ends in .h5 is required"},
      {"new.bin", weights, "ends in .safetensors or .h5 is required"},
      {"", weights, "'': a name that ends in"},
  };
  for (const auto& c : cases) {
    const std::filesystem::path path = c.file.empty() ? "" : folder_ / c.file;
    const std::string said = message_of<Error>([&] { check_target(path, c.target, true); });
    EXPECT_NE(said.find(c.says), std::string::npos) << c.file << ": " << said;
    EXPECT_THROW(check_target(path, c.target, false), Error) << c.file;
  }
  const auto import_to = [&](const std::string& name) {
    return message_of<Error>(
        [&] { import_weights(recipe, {.from = folder_ / "w.h5", .to = folder_ / name, .force = true}); });
  };
  EXPECT_EQ(import_to("imported.h5"), "nothing was thrown");
  EXPECT_NE(import_to("trained.h5").find("this is the checkpoint of a training"), std::string::npos);
  EXPECT_EQ(checkpoint::Checkpoint(folder_ / "trained.h5").step(), 2);
}

TEST_F(Weights, LinesOfIds) {
  const auto read = [&](const std::string& text) {
    std::ofstream(folder_ / "ids.txt") << text;
    return read_sequences(folder_ / "ids.txt", 10, 12);
  };
  const auto said = [&](const std::string& text) { return message_of<Error>([&] { read(text); }); };
  const std::vector<Sequence> sequences = read("\n1 2\n \t\r\n  007  9\n3");
  ASSERT_EQ(sequences.size(), 3u);
  EXPECT_EQ(sequences[0].line, 2);
  EXPECT_EQ(sequences[1].line, 4);
  EXPECT_EQ(sequences[1].ids, (std::vector<int32_t>{7, 9}));
  EXPECT_EQ(sequences[2].ids, std::vector<int32_t>{3});
  EXPECT_EQ(said("0 1 2 3 4 5 6 7 8 9 0 1"), "nothing was thrown");
  EXPECT_NE(said("0\n0 1 2 3 4 5 6 7 8 9 0 1 2").find("ids.txt:2:25: at most 12 ids"), std::string::npos);
  EXPECT_NE(said("1 2\n3 -4").find("ids.txt:2:3: ids and spaces are required, got byte 45"), std::string::npos);
  EXPECT_NE(said("1 10").find("ids.txt:1:4: ids below the vocabulary's size 10"), std::string::npos);
  EXPECT_NE(said(std::string(1000, '9')).find("ids.txt:1:2: ids below"), std::string::npos);
  EXPECT_NE(said("\n \n").find("there is none"), std::string::npos);
  EXPECT_NE(said("").find("there is none"), std::string::npos);
  EXPECT_THROW(read_sequences(folder_ / "absent.txt", 10, 12), Error);
  std::string many;
  for (int line = 0; line < 10'000; ++line) many += "1\n";
  EXPECT_EQ(read(many + "\n").size(), 10'000u);
  EXPECT_NE(said(many + "\n1").find("ids.txt:10002:1: at most 10000 sequences are read; split the file"),
            std::string::npos);
}

}  // namespace
}  // namespace mara::weights
