#pragma once
// What parameters are called elsewhere. The one place for the names and shapes of published layouts.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "models/model.h"

namespace mara::weights {

/// A parameter of ours in another layout.
struct NamedParameter {
  std::string ours;
  std::vector<std::string> theirs;  // all of them the same tensor
  nn::Parameter* parameter = nullptr;
  Shape shape;  // there
};

/// Names of a model's parameters in another layout, by ordered rules. A rule turns a pattern of our names into theirs:
///   blocks.{i}.mixer.short_weight -> backbone.layers.{i}.mixer.short_filter.weight [a, 1, b]
/// {i} is a number, * at the end any rest; in the shape a letter is one of our axes, in their order, and 1 is added.
/// The first rule that fits counts.
class NameMap {
 public:
  /// `which`: "own"; "safari" or "h3", the published layouts of language models with Hyena and attention layers; or a
  /// YAML file of `ours: theirs`, `theirs` being a text or a list of texts that name the same tensor, and `ignored:
  /// [...]` what may be left over of a file. Throws Error for a layout that has nothing like this model, and for a rule
  /// of a file that no parameter needs, but for '*'.
  NameMap(const std::string& which, models::Model& model);

  /// Every parameter of the model, constants included. Throws Error naming all those without a name there.
  const std::vector<NamedParameter>& parameters() const { return parameters_; }
  /// Whether a file need hold a tensor of several names under the first of them only.
  bool shared_once() const { return which_ == "own"; }
  /// Whether a file may hold this without a place for it here.
  bool ignored(const std::string& theirs) const;
  /// Old files of published layouts use other names: each name of a file -> its name in this layout.
  std::map<std::string, std::string> current_names(const std::vector<std::string>& file_names) const;
  /// Old files of safari hold queries, keys and values of an attention layer in three tensors: the names of those that
  /// stacked are the tensor of this name; otherwise none.
  std::vector<std::string> pieces(const std::string& theirs) const;

 private:
  struct Rule {
    std::string ours;
    std::vector<std::string> theirs;
    std::string axes = "";
    std::string where = "";
    bool used = false;
  };
  void add_published(models::Model& model, bool hyena_too);
  void add_file(const std::string& path);
  void add_rule(const std::string& where, const std::string& ours, std::vector<std::string> theirs);
  void name_parameters(models::Model& model);
  void check_all_used(models::Model& model) const;

  std::string which_;
  bool published_ = false;
  std::vector<Rule> rules_;
  std::vector<std::string> ignored_;
  std::vector<NamedParameter> parameters_;
};

}  // namespace mara::weights
