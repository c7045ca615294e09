#pragma once
// A config with every type of field, for the tests of this folder.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/fields.h"

namespace mara::config {

/// The keys of one kind of mixer.
struct Hyena {
  int64_t order = 2;
  int64_t taps = 3;
  void fields(Fields& f) {
    f.field("order", order, "number of gated products", at_least(2));
    f.field("taps", taps, "of the short filter", odd_at_least(1));
  }
};
struct S4D {
  int64_t state = 64;
  void fields(Fields& f) {
    f.field("state", state, "size of the state", at_least(1));
    f.require(state % 2 == 0, "state", "must be even (conjugate pairs), got " + std::to_string(state));
  }
};

struct Mixer {
  std::string kind;
  Hyena hyena;
  S4D s4d;
  void fields(Fields& f) {
    f.kind("kind", kind, {"hyena", "s4d"}, "which mixer", [&](const std::string& name) {
      if (name == "hyena") hyena.fields(f);
      if (name == "s4d") s4d.fields(f);
    });
  }
};

struct Model {
  int64_t width = 64;
  Mixer mixer;
  void fields(Fields& f) {
    f.required("width", width, "D", at_least(1));
    f.group("mixer", mixer, "mixes along the sequence");
  }
};

struct Clip {
  double norm = 1;
  void fields(Fields& f) { f.field("norm", norm, "largest gradient norm", above(0)); }
};

struct Recipe {
  std::string name = "run";
  bool quiet = false;
  Model model;
  double lr = 1e-3;
  std::vector<double> betas = {0.9, 0.999};
  std::vector<int64_t> sizes = {1, 2};
  std::string schedule = "cosine";
  std::optional<Clip> clip;
  void fields(Fields& f) {
    f.field("name", name, "of the run");
    f.field("quiet", quiet, "no progress lines");
    f.group("model", model, "what is trained");
    f.field("lr", lr, "learning rate", between(0, 10));
    f.field("betas", betas, "of AdamW", between(0, 1));
    f.field("sizes", sizes, "anything", at_least(1));
    f.field("schedule", schedule, "of the learning rate", one_of({"cosine", "linear", "constant"}));
    f.optional_group("clip", clip, "of gradients");
  }
};

inline const std::string kSample =
    "# a comment\n"
    "name: first run\n"
    "model:\n"
    "  width: 32\n"
    "  mixer: {kind: hyena, order: 3}\n"
    "lr: 6.0e-4\n"
    "betas: [0.9, 0.98]\n";

inline Recipe read(const std::string& text, const std::vector<std::string>& assignments = {}) {
  Document document = Document::parse(text, "x.yaml");
  for (const std::string& assignment : assignments) document.set(assignment);
  Recipe recipe;
  document.read(recipe);
  return recipe;
}

/// The message of the Error that reading throws, "" where it throws none.
inline std::string error_of(const std::string& text, const std::vector<std::string>& assignments = {}) {
  try {
    read(text, assignments);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace mara::config
