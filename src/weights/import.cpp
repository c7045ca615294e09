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

std::vector<std::string> names_in(const WeightsReader& file) {
  std::vector<std::string> out;
  for (const StoredTensor& tensor : file.tensors()) out.push_back(tensor.name);
  return out;
}

/// A built-in layout in which the file has names for most of the model; "" if none.
std::string likely_layout(const WeightsReader& file, models::Model& model) {
  for (const char* which : {"own", "safari"}) {
    try {
      const NameMap map(which, model);
      std::set<std::string> there;
      for (const auto& [name, current] : map.current_names(names_in(file))) there.insert(current);
      const auto found = std::count_if(map.parameters().begin(), map.parameters().end(),
                                       [&](const NamedParameter& named) { return there.count(named.theirs[0]) > 0; });
      if (2 * static_cast<size_t>(found) > map.parameters().size()) return which;
    } catch (const Error&) {  // a layout that cannot name this model
    }
  }
  return "";
}

/// Which tensors of a file fill which parameters.
class Plan {
 public:
  Plan(const ImportOptions& options, const WeightsReader& file, models::Model& model)
      : file_name_(options.from.string()), file_(file) {
    const NameMap map(options.names, model);
    index_names(map);
    for (const NamedParameter& named : map.parameters()) add(map, named);
    for (const auto& [name, index] : places_) {
      if (used_.count(index) == 0 && !map.ignored(name)) {
        complain(name + ": " + described(index) + " is there, nothing here has this name");
      }
    }
    if (lines_.empty()) return;
    const std::string likely = likely_layout(file, model);
    throw Error(file_name_ + ": does not fit this recipe's model:" + listed(lines_) +
                (likely.empty() || likely == options.names
                     ? "\nuse the recipe the weights were made with, or say what they are called with --names"
                     : "\nits names look like " + likely + ": use --names " + likely));
  }

  /// Fills the parameters, which have memory now.
  void fill() const {
    for (const Item& item : items_) {
      const Tensor& target = item.parameter->master();
      const std::vector<std::byte> bytes = read(item.stored[0]);
      const StoredTensor& stored = first(item.stored[0]);
      const int64_t wrong = convert(bytes, stored.dtype, target);
      MARA_CHECK(wrong < 0, file_name_, ": ", stored.name, ": element ", wrong, " is not a finite ", target.dtype(),
                 " number; use other weights");
      for (size_t i = 1; i < item.stored.size(); ++i) {
        const Source& other = item.stored[i];
        MARA_CHECK(first(other).dtype == stored.dtype && read(other) == bytes, file_name_, ": ", first(other).name,
                   " and ", stored.name, " are one tensor in this recipe's model, their values or dtypes differ",
                   "; for an output layer of its own: --set model.tie_head=false");
      }
    }
  }

  void report() const {
    std::set<std::string> converted;
    int64_t count = 0;
    for (const Item& item : items_) {
      const std::string_view dtype = first(item.stored[0]).dtype;
      count += item.parameter->shape().numel();
      const std::string_view own = item.parameter->master().dtype() == Dtype::f64 ? "F64" : "F32";
      if (dtype != own) converted.insert(std::string(dtype));
    }
    log_info(detail::join({file_name_, ": ", items_.size(), " tensors, ", with_commas(count), " numbers"}));
    for (const std::string& dtype : converted) log_info("converted from " + dtype);
    for (const std::string& name : computed_) log_info(name + ": not in the file, as the recipe computes it");
  }

 private:
  using Source = std::vector<size_t>;  // tensors of the file that stacked are one
  struct Item {
    nn::Parameter* parameter;
    std::vector<Source> stored;  // the same tensor each
  };

  const StoredTensor& first(const Source& source) const { return file_.tensors()[source[0]]; }
  std::vector<std::byte> read(const Source& source) const {
    std::vector<std::byte> out;
    for (const size_t index : source) {
      const std::vector<std::byte> bytes = file_.read(index);
      out.insert(out.end(), bytes.begin(), bytes.end());
    }
    return out;
  }
  void index_names(const NameMap& map) {
    const std::vector<std::string> names = names_in(file_);
    const std::map<std::string, std::string> current = map.current_names(names);
    for (size_t i = 0; i < names.size(); ++i) {
      const auto [place, added] = places_.try_emplace(current.at(names[i]), i);
      if (!added) complain(names[place->second] + " and " + names[i] + " are both what is called " + place->first);
    }
  }
  void add(const NameMap& map, const NamedParameter& named) {
    Item item{.parameter = named.parameter, .stored = {}};
    for (const std::string& name : named.theirs) {
      std::vector<std::string> pieces = map.pieces(name);
      const bool apart = !pieces.empty() && places_.count(name) == 0 &&
                         std::all_of(pieces.begin(), pieces.end(), [&](const auto& p) { return places_.count(p) > 0; });
      if (!apart) pieces = {name};
      Source source;
      for (const std::string& piece : pieces) add_piece(piece, pieces.size(), named, source);
      if (!source.empty()) item.stored.push_back(source);
    }
    if (!item.stored.empty()) {
      items_.push_back(std::move(item));
    } else if (named.parameter->hints().trainable) {
      complain(named.theirs[0] + ": missing, " + required(named.shape) + " is required");
    } else {
      computed_.push_back(named.ours);
    }
  }
  /// One of `count` equal parts of a parameter's rows.
  void add_piece(const std::string& name, size_t count, const NamedParameter& named, Source& source) {
    const auto at = places_.find(name);
    if (at == places_.end()) return;
    used_.insert(at->second);
    Shape shape = named.shape;
    if (count > 1) shape[0] /= static_cast<int64_t>(count);
    const StoredTensor& stored = file_.tensors()[at->second];
    const bool alike = source.empty() || first(source).dtype == stored.dtype;
    if (!is_floating(stored.dtype) || stored.shape != shape || !alike) {
      complain(name + ": " + required(shape) + (alike ? "" : " like " + first(source).name) +
               " is required, there is " + described(at->second));
    }
    source.push_back(at->second);
  }
  void complain(std::string line) { lines_.push_back(std::move(line)); }
  static std::string required(const Shape& shape) { return "F32, BF16, F16 or F64 of shape " + to_string(shape); }
  std::string described(size_t index) const {
    const StoredTensor& stored = file_.tensors()[index];
    return std::string(stored.dtype) + " of shape " + to_string(stored.shape);
  }

  std::string file_name_;
  const WeightsReader& file_;
  std::map<std::string, size_t> places_;  // current name -> index in the file
  std::set<size_t> used_;
  std::vector<Item> items_;
  std::vector<std::string> lines_, computed_;
};

bool holds_training(const std::filesystem::path& checkpoint) {
  return std::filesystem::exists(checkpoint) && checkpoint::Checkpoint(checkpoint).step() > 0;
}

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
  const io::Existing existing =
      check_target(options.to, {.safetensors = false, .hdf5 = io::FileKind::checkpoint}, options.force);
  MARA_CHECK(!holds_training(options.to), options.to.string(),
             ": --force replaces only what import made, this is the checkpoint of a training; choose another name");
  const std::unique_ptr<WeightsReader> file = open_weights(options.from);
  const std::unique_ptr<models::Model> model = recipe.model.options->make(recipe.model_setup());
  const Plan plan(options, *file, *model);

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
  snapshot.write(options.to, config::to_yaml(recipe), std::nullopt, existing);
  plan.report();
}

}  // namespace mara::weights
