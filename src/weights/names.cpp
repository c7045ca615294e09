#include "weights/names.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>

#include "config/node.h"
#include "config/text.h"
#include "core/format.h"
#include "io/file.h"

namespace mara::weights {
namespace {

constexpr int64_t kLargestMap = 1 << 20;
constexpr const char* kIgnored = "ignored";

using Bindings = std::map<std::string, std::string>;  // "{i}" -> "12", "*" -> "weight"

/// What the variables of a pattern stand for in a text; none if it does not fit.
std::optional<Bindings> match(std::string_view pattern, std::string_view text) {
  Bindings out;
  while (!pattern.empty()) {
    if (pattern == "*") {
      out["*"] = text;
      return out;
    }
    if (pattern[0] == '{') {
      const std::string variable(pattern.substr(0, pattern.find('}') + 1));
      const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
      if (digits == 0) return std::nullopt;
      const std::string number(text.substr(0, digits));
      if (out.try_emplace(variable, number).first->second != number) return std::nullopt;
      pattern.remove_prefix(variable.size());
      text.remove_prefix(digits);
    } else {
      if (text.empty() || text[0] != pattern[0]) return std::nullopt;
      pattern.remove_prefix(1);
      text.remove_prefix(1);
    }
  }
  if (!text.empty()) return std::nullopt;
  return out;
}

std::string fill(std::string_view pattern, const Bindings& bindings) {
  std::string out;
  while (!pattern.empty()) {
    const size_t size = pattern[0] == '{' ? pattern.find('}') + 1 : 1;
    const std::string piece(pattern.substr(0, size));
    const auto bound = bindings.find(piece);
    out += bound == bindings.end() ? piece : bound->second;
    pattern.remove_prefix(size);
  }
  return out;
}

/// The variables of a pattern. Throws Error for one that is none.
std::set<std::string> variables(const std::string& where, const std::string& pattern) {
  std::set<std::string> out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '*') {
      MARA_CHECK(i + 1 == pattern.size(), where, ": ", pattern, ": * may stand at the end only");
      out.insert("*");
    } else if (pattern[i] == '{') {
      const bool whole = i + 2 < pattern.size() && std::isalpha(static_cast<unsigned char>(pattern[i + 1])) != 0 &&
                         pattern[i + 2] == '}';
      MARA_CHECK(whole, where, ": ", pattern, ": after { one letter and } are required, as in {i}");
      out.insert(pattern.substr(i, 3));
      i += 2;
    }
  }
  return out;
}

/// "a, 1, b" applied to (3, 5) is (3, 1, 5).
Shape in_axes(const std::string& where, const std::string& axes, const Shape& ours) {
  Shape out;
  int letters = 0;
  for (size_t begin = 0; begin < axes.size();) {
    const size_t end = std::min(axes.find(',', begin), axes.size());
    std::string axis = axes.substr(begin, end - begin);
    std::erase(axis, ' ');
    const bool added = axis == "1", letter = axis.size() == 1 && axis[0] == 'a' + letters;
    MARA_CHECK(added || letter, where, ": axes [", axes, "]: the letters a, b, ... in order and 1 are required, got '",
               axis, "'");
    MARA_CHECK(added || letters < ours.rank, where, ": axes [", axes, "]: the parameter's shape is ", ours);
    out = out.append(added ? 1 : ours[letters++]);
    begin = end + 1;
  }
  MARA_CHECK(letters == ours.rank, where, ": axes [", axes, "]: the parameter's shape is ", ours);
  return out;
}

bool has_parameter(models::Model& model, std::string_view pattern) {
  bool found = false;
  model.visit_parameters([&](const std::string& name, nn::Parameter&) { found = found || match(pattern, name); });
  return found;
}

std::string read_text(const std::string& path) {
  const io::File file = io::File::open_to_read(path);
  MARA_CHECK(file.size() <= kLargestMap, path, ": a map of names of at most ", kLargestMap,
             " bytes is required, this has ", file.size());
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(text.data(), file.size(), 0);
  return text;
}

std::vector<std::string> texts(const config::Node& node, const std::string& key) {
  if (node.kind == config::Node::Kind::scalar) return {node.text};
  std::vector<std::string> out;
  for (const config::Node& item : node.items) {
    if (node.kind != config::Node::Kind::list || item.kind != config::Node::Kind::scalar) {
      config::fail_at(item.where, key, "a name or a list of names is required");
    }
    out.push_back(item.text);
  }
  if (out.empty() && key != kIgnored) config::fail_at(node.where, key, "a name is required, the list is empty");
  return out;
}

}  // namespace

NameMap::NameMap(const std::string& which, models::Model& model) : which_(which) {
  if (which == "own") {
    add_rule(which, "*", {"*"});
  } else if (which == "safari" || which == "h3") {
    published_ = true;
    add_published(model, which == "safari");
  } else {
    add_file(which);
  }
  name_parameters(model);
  if (!published_) check_all_used(model);
}

// Published with Hyena Hierarchy (2302.10866) and H3 (2212.14052); both repositories build models of the same blocks.
void NameMap::add_published(models::Model& model, bool hyena_too) {
  MARA_CHECK(model.vocabulary() > 0, "--names ", which_,
             ": its layout is one of language models, this is a model of another kind; use our own names");
  // There, rotary positions turn entry i together with i + half; here with its neighbour.
  MARA_CHECK(
      !model.turns_positions(), "--names ", which_,
      ": its layout pairs the entries of rotary positions differently; models with model.positions=rotary can be "
      "exported under our own names only");
  const auto add = [&](const std::string& ours, std::vector<std::string> theirs) {
    add_rule("--names " + which_, ours, std::move(theirs));
  };
  const std::string block = "blocks.{i}.", layer = "backbone.layers.{i}.";
  add("embedding.table", {"backbone.embeddings.word_embeddings.weight"});
  add("positions", {"backbone.embeddings.position_embeddings.weight"});
  add("head", {"lm_head.weight"});
  add("norm.gain", {"backbone.ln_f.weight"});
  add("norm.bias", {"backbone.ln_f.bias"});
  for (const std::string norm : {"norm1.", "norm2."}) {
    add(block + norm + "gain", {layer + norm + "weight"});
    add(block + norm + "bias", {layer + norm + "bias"});
  }
  add(block + "mlp.in.*", {layer + "mlp.fc1.*"});
  add(block + "mlp.out.*", {layer + "mlp.fc2.*"});

  // The first rule that fits counts: attention layers of a hybrid model come before the others' in_proj.
  for (int64_t i = 0; has_parameter(model, "blocks." + std::to_string(i) + ".norm1.gain"); ++i) {
    const std::string mixer = ".mixer.", number = std::to_string(i), attention = "blocks." + number + mixer;
    if (has_parameter(model, attention + "short_weight")) continue;
    add(attention + "in_proj.*", {"backbone.layers." + number + mixer + "Wqkv.*"});
  }
  const std::string mixer = block + "mixer.", their_mixer = layer + "mixer.";
  add(mixer + "out_proj.*", {their_mixer + "out_proj.*"});
  if (!has_parameter(model, mixer + "short_weight")) return;
  MARA_CHECK(hyena_too, "--names ", which_, ": this layout has no Hyena layers; use --names safari");
  add(mixer + "in_proj.*", {their_mixer + "in_proj.*"});
  add(mixer + "short_weight", {their_mixer + "short_filter.weight [a, 1, b]"});
  add(mixer + "short_bias", {their_mixer + "short_filter.bias"});
  add(mixer + "skip", {their_mixer + "filter_fn.bias"});
  const std::string filter = mixer + "filter.", their_filter = their_mixer + "filter_fn.";
  add(filter + "features", {their_filter + "pos_emb.z [1, a, b]"});
  add(filter + "time", {their_filter + "pos_emb.t [1, a, b]"});
  add(filter + "decay", {their_filter + "modulation.deltas [1, a, b]"});
  ignored_.push_back(their_filter + "modulation.deltas");  // there even if it is not applied
  // Layers and sines take turns: layer 0 is 0, its sine 1, layer 1 is 2, ... The sines are one module.
  const std::string network = filter + "forward.", their_network = their_filter + "implicit_filter.";
  std::vector<std::string> sines;
  int64_t place = 0;
  for (int64_t i = 0; has_parameter(model, network + "layer" + std::to_string(i) + ".weight"); ++i, place += 2) {
    add(network + "layer" + std::to_string(i) + ".*", {their_network + std::to_string(place) + ".*"});
    sines.push_back(their_network + std::to_string(place + 1) + ".freq [1, a]");
  }
  add(network + "output.weight", {their_network + std::to_string(place) + ".weight"});
  add(filter + "frequency", sines);
}

void NameMap::add_file(const std::string& path) {
  std::error_code none;
  MARA_CHECK(std::filesystem::exists(path, none), "--names ", path,
             ": own, safari, h3 or a file is required, there is no such file");
  const config::Node root = config::parse_yaml(read_text(path), {.name = path});
  MARA_CHECK(root.kind == config::Node::Kind::mapping, path, ": a mapping of `ours: theirs` is required, got ",
             config::describe(root));
  for (size_t i = 0; i < root.keys.size(); ++i) {
    const std::vector<std::string> theirs = texts(root.items[i], root.keys[i]);
    if (root.keys[i] == kIgnored) {
      for (const std::string& pattern : theirs) variables(root.items[i].where, pattern);
      ignored_ = theirs;
    } else {
      add_rule(root.items[i].where, root.keys[i], theirs);
    }
  }
}

void NameMap::add_rule(const std::string& where, const std::string& ours, std::vector<std::string> theirs) {
  Rule rule{.ours = ours, .theirs = std::move(theirs), .where = where};
  const std::set<std::string> bound = variables(where, ours);
  for (std::string& name : rule.theirs) {
    if (const size_t bracket = name.find('['); bracket != std::string::npos) {
      MARA_CHECK(name.back() == ']', where, ": ", name, ": the axes must end with ]");
      const std::string axes = name.substr(bracket + 1, name.size() - bracket - 2);
      MARA_CHECK(rule.axes.empty() || rule.axes == axes, where, ": ", ours, ": names of one tensor have the same axes");
      rule.axes = axes;
      name.resize(bracket);
      name.erase(name.find_last_not_of(' ') + 1);
    }
    MARA_CHECK(!name.empty(), where, ": ", ours, ": a name is required, got none");
    MARA_CHECK(printable(name) == name, where, ": ", ours,
               ": a name in UTF-8 without control characters is required, got ", printable(name));
    for (const std::string& variable : variables(where, name)) {
      MARA_CHECK(bound.count(variable) > 0, where, ": ", name, ": ", variable, " does not stand in ", ours);
    }
  }
  rules_.push_back(std::move(rule));
}

void NameMap::name_parameters(models::Model& model) {
  std::string unnamed;
  std::map<std::string, std::string> taken;  // theirs -> ours
  const auto names = [&](const std::string& ours, NamedParameter& out, const Shape& shape) {
    for (Rule& rule : rules_) {
      const std::optional<Bindings> bindings = match(rule.ours, ours);
      if (!bindings) continue;
      rule.used = true;
      const Shape there = rule.axes.empty() ? shape : in_axes(rule.where, rule.axes, shape);
      MARA_CHECK(out.theirs.empty() || out.shape == there, rule.where, ": ", ours,
                 ": names of one tensor have the same axes");
      out.shape = there;
      for (const std::string& pattern : rule.theirs) {
        out.theirs.push_back(fill(pattern, *bindings));
        const auto [place, added] = taken.try_emplace(out.theirs.back(), ours);
        MARA_CHECK(added, rule.where, ": ", place->second, " and ", ours, " are both called ", out.theirs.back());
      }
      return true;
    }
    return false;
  };
  const std::string tied = model.tied();  // "alias=parameter"
  const size_t equals = std::min(tied.find('='), tied.size());
  model.visit_parameters([&](const std::string& name, nn::Parameter& parameter) {
    NamedParameter out{.ours = name, .parameter = &parameter};
    if (!names(name, out, parameter.shape())) unnamed += "\n  " + name;
    if (!tied.empty() && tied.substr(equals + 1) == name) names(tied.substr(0, equals), out, parameter.shape());
    parameters_.push_back(std::move(out));
  });
  MARA_CHECK(unnamed.empty(), "--names ", which_, ": has no name for these parameters:", unnamed,
             "\nuse our own names, or a file that names them all");
}

void NameMap::check_all_used(models::Model& model) const {
  std::vector<std::string> ours;
  model.visit_parameters([&](const std::string& name, nn::Parameter&) { ours.push_back(name); });
  for (const Rule& rule : rules_) {
    if (rule.used || rule.ours == "*") continue;
    const std::string near = config::nearest(rule.ours, ours);
    throw Error(rule.where + ": " + rule.ours + ": this model has no parameter that fits and is not named before; " +
                (near.empty() ? "leave it out" : "did you mean '" + near + "'?"));
  }
}

std::vector<std::string> NameMap::pieces(const std::string& theirs) const {
  constexpr std::string_view kStacked = ".Wqkv.";
  const size_t at = theirs.find(kStacked);
  if (which_ != "safari" || at == std::string::npos) return {};
  std::vector<std::string> out;
  for (const char* part : {".q_proj.", ".k_proj.", ".v_proj."}) {
    out.push_back(std::string(theirs).replace(at, kStacked.size(), part));
  }
  return out;
}

bool NameMap::ignored(const std::string& theirs) const {
  return std::any_of(ignored_.begin(), ignored_.end(),
                     [&](const std::string& pattern) { return match(pattern, theirs).has_value(); });
}

// The conversions that the published code makes when it reads its own older files.
std::map<std::string, std::string> NameMap::current_names(const std::vector<std::string>& file_names) const {
  std::map<std::string, std::string> out;
  for (const std::string& name : file_names) out[name] = name;
  if (!published_) return out;
  static const std::pair<std::string, std::string> kPrefixes[] = {
      {"model.", ""},  // of the training framework
      {"s4seq.encoder.", "backbone."},
      {"embedding.", "backbone.embeddings.word_embeddings."},
      {"backbone.norm", "backbone.ln_0"}};
  constexpr std::string_view kOldOutput = ".mixer.output_linear.", kLayers = "backbone.layers.";
  for (auto& [file_name, name] : out) {
    for (const auto& [old, current] : kPrefixes) {
      if (name.starts_with(old)) name = current + name.substr(old.size());
    }
    const size_t at = name.find(kOldOutput);
    if (which_ == "safari" && at != std::string::npos) name.replace(at, kOldOutput.size(), ".mixer.out_proj.");
  }
  const bool shifted =
      std::any_of(out.begin(), out.end(), [](const auto& item) { return item.second == "backbone.ln_0.weight"; });
  if (!shifted) return out;
  // Norms used to stand before the addition, one place late: ln_0, then norm1 and norm2 of each layer.
  int64_t layers = 0;
  const auto number_of = [&](const std::string& name) -> std::optional<std::pair<int64_t, std::string>> {
    const size_t end = name.find('.', kLayers.size());
    if (!name.starts_with(kLayers) || end == std::string::npos || end - kLayers.size() > 9) return std::nullopt;
    const std::string number = name.substr(kLayers.size(), end - kLayers.size());
    if (number.empty() || number.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
    return std::pair(std::stoll(number), name.substr(end + 1));
  };
  for (const auto& [file_name, name] : out) {
    if (const auto layer = number_of(name)) layers = std::max(layers, layer->first + 1);
  }
  for (auto& [file_name, name] : out) {
    const auto layer = number_of(name);
    const auto in_layer = [&](int64_t number, const std::string& rest) {
      return std::string(kLayers) + std::to_string(number) + "." + rest;
    };
    if (name.starts_with("backbone.ln_0.")) {
      name = in_layer(0, "norm1." + name.substr(std::string("backbone.ln_0.").size()));
    } else if (layer && layer->second.starts_with("norm1.")) {
      name = in_layer(layer->first, "norm2." + layer->second.substr(6));
    } else if (layer && layer->second.starts_with("norm2.")) {
      const std::string rest = layer->second.substr(6);
      name = layer->first + 1 < layers ? in_layer(layer->first + 1, "norm1." + rest) : "backbone.ln_f." + rest;
    }
  }
  return out;
}

}  // namespace mara::weights
