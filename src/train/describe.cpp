#include "train/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "core/format.h"
#include "kernels/observer.h"
#include "train/dry_run.h"

namespace mara::train {
namespace {

// "blocks.3.mixer" -> "blocks.*.mixer"
std::string without_numbers(const std::string& name) {
  std::string out;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    const bool number = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return std::isdigit(c); });
    out += (out.empty() ? "" : ".") + (number ? "*" : part);
    begin = end + 1;
  }
  return out;
}

void add_row(std::vector<Description::Row>& rows, const std::string& full_name, const nn::Parameter& parameter) {
  const std::string name = without_numbers(full_name);
  const auto same = std::find_if(rows.begin(), rows.end(), [&](const Description::Row& row) {
    return row.name == name && row.shape == parameter.shape();
  });
  if (same == rows.end()) {
    rows.push_back({name, parameter.shape(), 1, parameter.shape().numel(), parameter.hints()});
  } else {
    ++same->copies;
    same->elements += parameter.shape().numel();
  }
}

std::string table(const std::vector<Description::Row>& rows, const optim::OptimConfig& optim) {
  size_t width = 0;
  for (const Description::Row& row : rows) width = std::max(width, row.name.size());
  std::string out;
  for (const Description::Row& row : rows) {
    std::string notes = row.hints.precision == nn::Precision::f32 ? "f32" : "";
    const auto note = [&](const std::string& text) { notes += (notes.empty() ? "" : ", ") + text; };
    if (row.hints.trainable && optim.decay_of(row.hints) > 0) note("decayed");
    if (row.hints.trainable && optim.lr_scale(row.hints) != 1) {
      note(fmt::format("lr x {:.4g}", optim.lr_scale(row.hints)));
    }
    std::string line =
        fmt::format("  {:<{}}  {:<16} {:>5} {:>16}  {}", row.name, width, to_string(row.shape),
                    row.copies == 1 ? "" : fmt::format("x {}", row.copies), with_commas(row.elements), notes);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

}  // namespace

Description describe(const Recipe& recipe) {
  DryRun run(recipe);
  Description out;
  run.model().visit_parameters([&](const std::string& name, const nn::Parameter& parameter) {
    add_row(parameter.hints().trainable ? out.parameters : out.constants, name, parameter);
  });
  out.parameter_count = run.arena().parameter_count();
  out.weight_bytes = run.arena().memory_bytes();
  out.optimizer_bytes = run.optimizer().memory_bytes();
  kernels::FlopCounter counter;
  const kernels::ObserverScope scope(counter);
  const int64_t tokens = run.micro_step(true);
  out.activation_bytes = run.peak_bytes();
  out.flops_per_token = counter.flops / static_cast<double>(tokens);
  return out;
}

std::string summary_text(const Description& d, const Recipe& recipe) {
  const models::ModelSetup setup = recipe.model_setup();
  const int64_t rows = recipe.train.micro_batch_size();
  std::string out = "Parameters\n" + table(d.parameters, recipe.optim);
  out += fmt::format("  {} trainable parameters\n", with_commas(d.parameter_count));
  if (!d.constants.empty()) out += "Constants\n" + table(d.constants, recipe.optim);
  out += fmt::format(
      "Memory\n  weights and gradients {}\n  optimiser state {}\n  activations {} for {} sequences of {} tokens, "
      "without what kernels need for a moment\n"
      "  together {}\n",
      bytes_text(d.weight_bytes), bytes_text(d.optimizer_bytes), bytes_text(d.activation_bytes), rows, setup.length,
      bytes_text(d.weight_bytes + d.optimizer_bytes + d.activation_bytes));
  out += fmt::format("Work\n  {:.4g} floating-point operations per token, forward and backward\n", d.flops_per_token);
  return out;
}

std::string to_text(const Description& description, const Recipe& recipe) {
  return summary_text(description, recipe) + "\nResolved recipe\n" + config::to_yaml(recipe);
}

std::string options_text() {
  std::string out;
  for (const config::Option& option : config::options<Recipe>()) {
    out += fmt::format("{}: {}{}{}\n    {}\n", option.key, option.type,
                       option.required ? ", required" : (option.value.empty() ? "" : ", default " + option.value),
                       option.requirement.empty() ? "" : ", " + option.requirement, option.help);
  }
  return out;
}

}  // namespace mara::train
