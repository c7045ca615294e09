#include "bench/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "core/runtime.h"
#include "train/describe.h"
#include "train/dry_run.h"
#include "train/trainer.h"

namespace mara::bench {
namespace {

constexpr int64_t kWarmUp = 5;  // the third captures the step where that can be done
constexpr size_t kFewestSteps = 5, kMostSteps = 50;

std::string name(Device device) { return to_string(device) + ": " + runtime(device).description(); }

std::vector<Timed> time_all(const Calls& calls, Device device, double effort) {
  std::vector<Timed> out;
  for (const std::unique_ptr<Call>& call : calls) {
    const ErrorContext frame("timing " + call->kernel + " " + call->shapes);
    out.push_back(time(*call, device, effort));
  }
  return out;
}

StepTimes time_steps(const train::Recipe& recipe, Device device, double effort) {
  train::Trainer trainer(recipe, device);
  const double tokens = static_cast<double>(recipe.train.batch * recipe.model_setup().length);
  std::vector<double> seconds;
  StepTimes out{.parameters = trainer.arena().parameter_count()};
  double spent = 0;
  trainer.enqueue(0);
  for (int64_t step = 0; seconds.size() < kFewestSteps || (spent < 20 * effort && seconds.size() < kMostSteps);
       ++step) {
    trainer.enqueue(step + 1);  // the next one is prepared meanwhile, as in training
    const train::StepMetrics metrics = trainer.collect();
    if (step < kWarmUp) continue;
    seconds.push_back(tokens / metrics.tokens_per_second);
    spent += seconds.back();
    out.memory = metrics.memory;
  }
  std::sort(seconds.begin(), seconds.end());
  out.seconds = seconds[seconds.size() / 2];
  out.tokens_per_second = tokens / out.seconds;
  return out;
}

double total_seconds(const std::vector<Timed>& calls) {
  double total = 0;
  for (const Timed& call : calls) total += call.total_seconds();
  return total;
}

// "123 us"
std::string time_text(double seconds) {
  const double us = seconds * 1e6;
  return us < 1e3   ? fmt::format("{:.2f} us", us)
         : us < 1e6 ? fmt::format("{:.3f} ms", us / 1e3)
                    : fmt::format("{:.3f} s", seconds);
}

}  // namespace

Report bench(const Calls& calls, Device device, const Ceilings& ceilings, double effort) {
  return {.device = name(device), .ceilings = ceilings, .calls = time_all(calls, device, effort)};
}

Report bench_step(const train::Recipe& recipe, Device device, const Ceilings& ceilings, double effort) {
  StepTimes step = time_steps(recipe, device, effort);
  const train::Description description = train::describe(recipe);
  step.flops_per_token = description.flops_per_token;
  step.memory += description.weight_bytes + description.optimizer_bytes;
  train::DryRun run(recipe);
  Report report{name(device), ceilings, step, time_all(record([&] { run.step(); }), device, effort)};
  std::stable_sort(report.calls.begin(), report.calls.end(),
                   [](const Timed& a, const Timed& b) { return a.total_seconds() > b.total_seconds(); });
  return report;
}

std::string to_text(const Report& report) {
  const Ceilings& best = report.ceilings;
  std::string out = fmt::format("{}\n  copy {:.4g} GB/s, matrix product {:.4g} Tflop/s\n", report.device,
                                best.copy / 1e9, best.product / 1e12);
  const double all = total_seconds(report.calls);
  if (report.step) {
    const StepTimes& s = *report.step;
    out += fmt::format(
        "Step\n  {} for a step, {} tokens/s\n"
        "  {:.1f} % of the matrix product's rate by 6 P ({} parameters), {:.1f} % by the {:.4g} operations per token\n"
        "  memory {}\n  its calls alone take {}\n",
        time_text(s.seconds), with_commas(std::llround(s.tokens_per_second)), 100 * s.by_parameters() / best.product,
        with_commas(s.parameters), 100 * s.as_counted() / best.product, s.flops_per_token, bytes_text(s.memory),
        time_text(all));
  }
  out +=
      fmt::format("Kernels\n  {:<21} {:<5} {:<7} {:>6} {:>11} {:>11} {:>9} {:>6} {:>9} {:>6}  {}\n", "kernel", "dtype",
                  "calls", report.step ? "share" : "", "each", "floor", "GB/s", "copy", "Tflop/s", "prod.", "shapes");
  for (const Timed& call : report.calls) {
    const double bytes = call.bytes / call.seconds, flops = call.flops / call.seconds;
    const std::string share = report.step ? fmt::format("{:.1f}%", 100 * call.total_seconds() / all) : "";
    out += fmt::format("  {:<21} {:<5} x {:<5} {:>6} {:>11} {:>11} {:>9.1f} {:>5.0f}%", call.kernel,
                       to_string(call.dtype), call.count, share, time_text(call.seconds),
                       time_text(call.bytes / best.copy), bytes / 1e9, 100 * bytes / best.copy);
    out += call.flops > 0 ? fmt::format(" {:>9.3f} {:>5.0f}%", flops / 1e12, 100 * flops / best.product)
                          : std::string(17, ' ');
    out += "  " + call.shapes + "\n";
  }
  return out;
}

std::string to_json(const Report& report) {
  using nlohmann::ordered_json;
  const Ceilings& best = report.ceilings;
  ordered_json out = {
      {"device", report.device}, {"copy_bytes_per_second", best.copy}, {"product_flops_per_second", best.product}};
  if (report.step) {
    const StepTimes& s = *report.step;
    out["step"] = {{"seconds", s.seconds},
                   {"tokens_per_second", s.tokens_per_second},
                   {"parameters", s.parameters},
                   {"flops_per_token", s.flops_per_token},
                   {"mfu_6p", s.by_parameters() / best.product},
                   {"mfu_counted", s.as_counted() / best.product},
                   {"memory_bytes", s.memory}};
  }
  const double all = total_seconds(report.calls);
  out["kernels"] = ordered_json::array();
  for (const Timed& call : report.calls) {
    ordered_json row = {{"kernel", call.kernel},
                        {"shapes", call.shapes},
                        {"dtype", to_string(call.dtype)},
                        {"calls", call.count},
                        {"seconds", call.seconds},
                        {"floor_seconds", call.bytes / best.copy},
                        {"bytes", call.bytes},
                        {"bytes_per_second", call.bytes / call.seconds},
                        {"copy_fraction", call.bytes / call.seconds / best.copy}};
    if (report.step) row["share"] = call.total_seconds() / all;
    if (call.flops > 0) {
      row["flops"] = call.flops;
      row["flops_per_second"] = call.flops / call.seconds;
      row["product_fraction"] = call.flops / call.seconds / best.product;
    }
    out["kernels"].push_back(std::move(row));
  }
  return out.dump(2);
}

}  // namespace mara::bench
