#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <list>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "core/format.h"
#include "eval/examples.h"
#include "eval/tables.h"
#include "train/loaded_model.h"

namespace mara::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  std::string checkpoint;
  std::vector<std::string> overrides, data;
  std::string split;
  std::optional<int64_t> examples, window, stride;
  DeviceOptions machine;
  bool json = false;
};

constexpr std::string_view kRate = "model.mixer.ssm.rate=";

/// Evaluating is for the model as it was trained, so of its recipe only what stands around the model may differ, and
/// how often a signal is sampled.
void check_overrides(const std::vector<std::string>& overrides) {
  constexpr std::string_view kFree[] = {"eval.", "data.", "task.", "precision.", kRate};
  for (const std::string& assignment : overrides) {
    const bool free = std::any_of(std::begin(kFree), std::end(kFree),
                                  [&](std::string_view beginning) { return assignment.starts_with(beginning); });
    MARA_CHECK(free, "eval: --set ", assignment,
               ": only keys of eval, data, task and precision, and model.mixer.ssm.rate, can differ from the run's, "
               "anything else is another model or has no effect; leave it out");
  }
}

/// What to do where an override does not fit the model, "" where its own error says so.
std::string advice(const std::string& assignment) {
  constexpr std::string_view kLength = "data.length=";
  if (assignment.starts_with(kLength)) {
    return "; to read less at once than the model was made for use --window " + assignment.substr(kLength.size());
  }
  if (assignment.starts_with(kRate)) return "; s4d, s4 and h3 have a rate, with other mixers leave it out";
  if (!assignment.starts_with("task.")) return "";
  return "; of mixers s4d, h3 and attention read sequences of other lengths than in training, s4 up to its period (at "
         "model.mixer.ssm.rate=0.5 twice as many positions), none of them with learned positions; no model reads more "
         "ids than it was made for";
}

train::LoadedModel load(const Arguments& arguments, Device device) {
  check_overrides(arguments.overrides);
  std::list<ErrorContext> hints;
  for (const std::string& assignment : arguments.overrides) {
    const std::string text = advice(assignment);
    if (!text.empty()) hints.emplace_back("--set " + assignment + text);
  }
  return train::load_model(arguments.checkpoint, device, arguments.overrides);
}

/// What a model can be evaluated on: its recipe's task, or texts. Of the training data nothing is needed.
class Source {
 public:
  Source(const train::Recipe& recipe, const Arguments& arguments) : length_(recipe.model_setup().length) {
    const bool text_only = !arguments.data.empty() || arguments.window || arguments.stride;
    MARA_CHECK(recipe.data || !text_only, "eval: --data, --window and --stride are for language models, the model of ",
               arguments.checkpoint, " was trained on a synthetic task; leave them out");
    MARA_CHECK(arguments.data.empty() || arguments.split.empty(),
               "eval: either --split or --data says what to evaluate on, both are given; leave one out");
    if (!recipe.data) {
      split_ = arguments.split == "valid" ? tasks::Split::valid : tasks::Split::test;
      task_ = recipe.task->make(recipe.seed());
      name_ = recipe.task->kind + ", " + to_string(split_);
      return;
    }
    const data::DataConfig& data = *recipe.data;
    MARA_CHECK(arguments.split != "test" || !data.test.empty(),
               "eval: the recipe names no data.test; give --split valid, or a text with --data");
    const bool valid = arguments.split == "valid" || data.test.empty();
    const bool other = !arguments.data.empty();
    const std::vector<std::string>& patterns = other ? arguments.data : valid ? data.valid : data.test;
    tokenizer_ = data::make_tokenizer(data.tokenizer);
    text_.emplace(patterns, *tokenizer_, other ? "--data" : data::DataConfig::option_of(valid ? "valid" : "test"));
    for (const std::string& pattern : patterns) name_ += (name_.empty() ? "" : ", ") + pattern;
  }

  bool is_text() const { return text_.has_value(); }
  const std::string& name() const { return name_; }
  int64_t length() const { return length_; }  // the model was trained with
  eval::Examples examples(const eval::Windows& windows) const {
    return text_ ? eval::text_examples(*text_, *tokenizer_, windows)
                 : eval::task_examples(*task_, split_, windows.count);
  }

 private:
  int64_t length_;
  std::string name_;
  tasks::Split split_ = tasks::Split::test;
  std::shared_ptr<const tasks::Task> task_;
  std::unique_ptr<data::Tokenizer> tokenizer_;
  std::optional<data::TokenSource> text_;
};

/// One way of evaluating, and what came out.
struct Result {
  eval::Windows windows;  // of text
  eval::Evaluation evaluation;
  eval::Breakdown breakdown;
};

Json groups_json(const char* key, const eval::Groups& groups, bool values) {
  Json out = Json::array();
  for (const auto& [value, group] : groups) {
    out.push_back({{key, value}, {"scored", group.scored}, {"loss", group.loss()}});
    out.back().update(values ? Json{{"reference", group.reference()}} : Json{{"accuracy", group.accuracy()}});
  }
  return out;
}

Json result_json(const Result& result, bool text) {
  const eval::Evaluation& e = result.evaluation;
  Json out;
  if (text) out = {{"window", result.windows.length}, {"stride", result.windows.stride}};
  out.update({{"examples", e.examples}, {"scored", e.scored}, {"loss", e.loss}});
  out.update(e.reference ? Json{{"reference", *e.reference}} : Json{{"accuracy", *e.accuracy}});
  if (!text && !e.reference) out["exact"] = e.exact;
  if (text) out["perplexity"] = e.perplexity();  // null where the loss is above 709
  if (e.bits_per_byte) out.update({{"bytes", e.bytes}, {"bits_per_byte", *e.bits_per_byte}});
  out["by_position"] = groups_json("position", result.breakdown.by_position, e.reference.has_value());
  if (!text) out["by_distance"] = groups_json("distance", result.breakdown.by_distance, false);
  return out;
}

std::string result_text(const Result& result, bool text) {
  const eval::Evaluation& e = result.evaluation;
  const eval::Windows& w = result.windows;
  std::string out;
  if (text) {
    const bool sliding = w.stride < w.length;
    out = detail::join({sliding ? "sliding windows" : "windows side by side", " (T = ", w.length, ", S = ", w.stride,
                        "): ", with_commas(e.examples), " windows, ", with_commas(e.scored), " tokens scored\n  loss ",
                        e.loss, ", perplexity ", e.perplexity(), " per token"});
    if (e.bits_per_byte) {
      out += detail::join({"\n  ", *e.bits_per_byte, " bits per byte on ", with_commas(e.bytes), " bytes"});
    }
    out += detail::join({"\n  next token right in ", 100 * *e.accuracy, " %\n"});
  } else {
    out = e.reference ? eval::quality_text(e) : detail::join({"accuracy ", 100 * *e.accuracy, " %, loss ", e.loss});
    out += detail::join({" on ", with_commas(e.examples), " examples, ", with_commas(e.scored), " answers\n"});
    if (!e.reference && e.scored > e.examples)
      out += detail::join({100 * e.exact, " % of the examples right throughout\n"});
  }
  for (const std::string& table : {eval::position_table(result.breakdown), eval::distance_table(result.breakdown)}) {
    if (!table.empty()) out += "\n" + table;
  }
  return out;
}

int run(const Arguments& arguments) {
  const Device device = use(arguments.machine);
  const train::LoadedModel loaded = load(arguments, device);
  const Source source(loaded.recipe, arguments);
  const int64_t window = arguments.window.value_or(source.length());
  MARA_CHECK(window <= source.length(), "eval: --window: at most the ", source.length(),
             " tokens that the model was made for, got ", window);
  MARA_CHECK(arguments.stride.value_or(1) <= window, "eval: --stride: at most the ", window,
             " tokens of a window, or some would never be scored, got ", arguments.stride.value_or(1));
  // As many as the evaluation that ends a run, which this repeats.
  const int64_t count = arguments.examples.value_or(loaded.recipe.eval.test_examples);
  MARA_CHECK(source.is_text() || count > 0,
             "eval: a number of examples above 0 is required, a task has no end; give "
             "--examples 5000");
  std::vector<Result> results = {{.windows = {.length = window, .stride = window, .count = count}}};
  if (arguments.stride && *arguments.stride != window) {
    results.push_back({.windows = {.length = window, .stride = *arguments.stride, .count = count}});
  }
  for (Result& result : results) {
    result.evaluation = eval::evaluate(*loaded.model, source.examples(result.windows), loaded.recipe.eval_batch(),
                                       device, &result.breakdown);
    MARA_CHECK(std::isfinite(result.evaluation.loss), loaded.path.string(), ": the loss is not finite (",
               result.evaluation.loss, "); these weights are of no use, take another checkpoint");
  }
  if (arguments.json) {
    Json out = {{"checkpoint", loaded.path.string()}, {"step", loaded.step}, {"on", source.name()}};
    if (!arguments.overrides.empty()) out["set"] = arguments.overrides;
    for (const Result& result : results) out["results"].push_back(result_json(result, source.is_text()));
    std::printf("%s\n", out.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    std::string heading =
        detail::join({loaded.path.string(), ", step ", with_commas(loaded.step), ", on ", source.name()});
    for (const std::string& assignment : arguments.overrides) heading += ", --set " + assignment;
    std::printf("%s\n", printable(heading).c_str());
    for (const Result& result : results) std::printf("\n%s", result_text(result, source.is_text()).c_str());
  }
  if (std::fflush(stdout) != 0) throw Failure("eval: cannot write to the standard output");
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  app.add_option("checkpoint", arguments->checkpoint, "Checkpoint, or a run folder: its newest one")->required();
  add_overrides(app, arguments->overrides, "eval.batch=8");
  app.add_option("--split", arguments->split, "valid or test (default: what the run's last evaluation was on)")
      ->check(CLI::IsMember({"valid", "test"}));
  app.add_option("--data", arguments->data, "Token shards of another text, a path with * and ? (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--examples", arguments->examples,
                 "Examples, or windows spread over the text (default: eval.test_examples; 0: all of a text)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--window", arguments->window, "T, tokens the model reads at once (default: data.length)")
      ->check(CLI::PositiveNumber);
  app.add_option("--stride", arguments->stride,
                 "S: also slide the window by so many tokens and score only those: more context, lower loss")
      ->check(CLI::PositiveNumber);
  add_device_options(app, arguments->machine);
  app.add_flag("--json", arguments->json, "Print one JSON object instead: every position and distance by itself");
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kEval{"eval", "Judge a trained model: by position and distance; perplexity, bits per byte", setup};

}  // namespace mara::cli
