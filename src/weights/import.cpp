#include "weights/import.h"

#include <algorithm>
#include <optional>
#include <set>

#include "checkpoint/checkpoint.h"
#include "core/format.h"
#include "core/log.h"
#include "train/trainer.h"
#include "weights/names.h"
#include "weights/weights_file.h"

namespace mara::weights {
namespace {

constexpr size_t kMostLines = 1000;

/// Which tensors of a file fill which parameters.
class Plan {
 public:
  Plan(const std::string& file_name, const WeightsReader& file, const NameMap& map)
      : file_name_(file_name), file_(file) {
    index_names(map);
    for (const NamedParameter& named : map.parameters()) add(named);
    for (const auto& [name, index] : places_) {
      if (used_.count(index) == 0 && !map.ignored(name)) {
        complain(name + ": " + described(index) + " is there, nothing here has this name");
      }
    }
    MARA_CHECK(lines_.empty(), file_name, ": does not fit this recipe's model:", joined());
  }

  /// Fills the parameters, which have memory now.
  void fill() const {
    for (const Item& item : items_) {
      const Tensor& target = item.parameter->master();
      const std::vector<std::byte> bytes = file_.read(item.stored[0]);
      const StoredTensor& stored = file_.tensors()[item.stored[0]];
      const int64_t wrong = convert(bytes, stored.dtype, target);
      MARA_CHECK(wrong < 0, file_name_, ": ", stored.name, ": element ", wrong, " is not a finite ", target.dtype(),
                 " number; use other weights");
      for (size_t i = 1; i < item.stored.size(); ++i) {
        MARA_CHECK(file_.read(item.stored[i]) == bytes, file_name_, ": ", file_.tensors()[item.stored[i]].name, " and ",
                   stored.name, " are one tensor in this recipe's model, their values differ",
                   "; for an output layer of its own: --set model.tie_head=false");
      }
    }
  }

  void report() const {
    std::set<std::string> converted;
    int64_t count = 0;
    for (const Item& item : items_) {
      const std::string_view dtype = file_.tensors()[item.stored[0]].dtype;
      count += item.parameter->shape().numel();
      const std::string_view own = item.parameter->master().dtype() == Dtype::f64 ? "F64" : "F32";
      if (dtype != own) converted.insert(std::string(dtype));
    }
    log_info(detail::join({file_name_, ": ", items_.size(), " tensors, ", with_commas(count), " numbers"}));
    for (const std::string& dtype : converted) log_info("converted from " + dtype);
    for (const std::string& name : computed_) log_info(name + ": not in the file, as the recipe computes it");
  }

 private:
  struct Item {
    nn::Parameter* parameter;
    std::vector<size_t> stored;  // the same tensor each
  };

  void index_names(const NameMap& map) {
    std::vector<std::string> names;
    for (const StoredTensor& tensor : file_.tensors()) names.push_back(tensor.name);
    const std::map<std::string, std::string> current = map.current_names(names);
    for (size_t i = 0; i < names.size(); ++i) {
      const auto [place, added] = places_.try_emplace(current.at(names[i]), i);
      if (!added) complain(names[place->second] + " and " + names[i] + " are both what is called " + place->first);
    }
  }
  void add(const NamedParameter& named) {
    Item item{.parameter = named.parameter, .stored = {}};
    for (const std::string& name : named.theirs) {
      const auto at = places_.find(name);
      if (at == places_.end()) continue;
      used_.insert(at->second);
      const StoredTensor& stored = file_.tensors()[at->second];
      if (!is_floating(stored.dtype) || stored.shape != named.shape) {
        complain(name + ": " + required(named) + " is required, there is " + described(at->second));
      }
      item.stored.push_back(at->second);
    }
    if (!item.stored.empty()) {
      items_.push_back(std::move(item));
    } else if (named.parameter->hints().trainable) {
      complain(named.theirs[0] + ": missing, " + required(named) + " is required");
    } else {
      computed_.push_back(named.ours);
    }
  }
  void complain(std::string line) { lines_.push_back(std::move(line)); }
  static std::string required(const NamedParameter& named) {
    return "F32, BF16, F16 or F64 of shape " + to_string(named.shape);
  }
  std::string described(size_t index) const {
    const StoredTensor& stored = file_.tensors()[index];
    return std::string(stored.dtype) + " of shape " + to_string(stored.shape);
  }
  std::string joined() const {
    std::string out;
    for (size_t i = 0; i < std::min(lines_.size(), kMostLines); ++i) out += "\n  " + lines_[i];
    if (lines_.size() > kMostLines)
      out += "\n  and " + with_commas(static_cast<int64_t>(lines_.size() - kMostLines)) + " more";
    return out;
  }

  std::string file_name_;
  const WeightsReader& file_;
  std::map<std::string, size_t> places_;  // current name -> index in the file
  std::set<size_t> used_;
  std::vector<Item> items_;
  std::vector<std::string> lines_, computed_;
};

/// What a resumed run's data must hash to. Without the data the weights can be used, but not trained.
uint64_t data_hash(const train::Recipe& recipe) {
  try {
    return train::make_batch_source(recipe)->data_hash();
  } catch (const Error& error) {
    log_warning(
        std::string(error.what()) +
        "\nthe checkpoint is good for everything but `train --resume`: for that, make the data and import again");
    return 0;
  }
}

}  // namespace

void import_weights(const train::Recipe& recipe, const ImportOptions& options) {
  check_free(options.to, options.force);
  const std::unique_ptr<WeightsReader> file = open_weights(options.from);
  const std::unique_ptr<models::Model> model = recipe.model.options->make(recipe.model_setup());
  const NameMap map(options.names, recipe, *model);
  const Plan plan(options.from.string(), *file, map);

  nn::ParameterArena arena(*model, kCpu, recipe.precision.compute_dtype(), recipe.seed());
  plan.fill();
  const std::unique_ptr<optim::Optimizer> optimizer = optim::make_optimizer(recipe.optim, arena);
  const uint64_t hash = data_hash(recipe);
  train::Position position;
  const checkpoint::StateFunction state = [&](StateVisitor& visitor) {
    train::run_state(visitor, recipe, hash, *model, position, arena, *optimizer);
  };
  checkpoint::Snapshot snapshot(state);
  snapshot.capture(state);
  snapshot.write(options.to, config::to_yaml(recipe), std::nullopt);
  plan.report();
}

}  // namespace mara::weights
