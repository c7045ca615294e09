#include "bench/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/inputs.h"
#include "core/parallel.h"
#include "train/dry_run.h"

namespace mara::bench {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// ||x - reference|| / ||reference||, absolute where the reference is zero; infinite if one of a pair is not a number.
double relative_error(const Tensor& x, const Tensor& reference) {
  constexpr int64_t kGrain = 1 << 16;
  const double *a = x.view().ptr<double>(), *b = reference.view().ptr<double>();
  struct Sums {
    double difference = 0, norm = 0;
  };
  std::vector<Sums> parts(static_cast<size_t>((x.numel() + kGrain - 1) / kGrain));
  parallel_chunks(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
    Sums sums;
    for (int64_t i = begin; i < end; ++i) {
      if (std::isnan(a[i]) && std::isnan(b[i])) continue;  // a gap, written by neither
      const double difference = a[i] - b[i];
      sums.difference += std::isfinite(difference) ? difference * difference : kInfinity;
      sums.norm += std::isfinite(b[i]) ? b[i] * b[i] : 0;
    }
    parts[static_cast<size_t>(begin / kGrain)] = sums;
  });
  Sums all;
  for (const Sums& part : parts) all = {all.difference + part.difference, all.norm + part.norm};
  return std::sqrt(all.difference) / (all.norm > 0 ? std::sqrt(all.norm) : 1.0);
}

// The fraction of indices that differ, not counting one.
double differing(const Tensor& x, const Tensor& reference) {
  const int32_t *a = x.view().ptr<int32_t>(), *b = reference.view().ptr<int32_t>();
  int64_t count = 0;
  for (int64_t i = 0; i < x.numel(); ++i) count += a[i] != b[i];
  return count <= 1 && x.numel() > 1 ? 0.0 : static_cast<double>(count) / static_cast<double>(x.numel());
}

CheckRow check(const Call& call, const kernels::Backend& tested) {
  const std::unique_ptr<Instance> reference = call.instance(kCpu, true);
  const std::unique_ptr<Instance> candidate = call.instance(tested.stream.device(), false);
  fill_inputs(*reference);
  for (size_t i = 0; i < reference->slots().size(); ++i) {
    const Slot &wide = reference->slots()[i], &slot = candidate->slots()[i];
    if (slot.role.read() && !slot.numbers) {
      upload(download(wide), slot);
      upload(download(slot), wide);  // as rounded
    }
    if (slot.role.access == kernels::Access::out) poison(wide), poison(slot);
  }
  reference->run(kernels::on(kCpu));
  candidate->run(tested);
  CheckRow row{call.kernel, call.shapes, call.dtype, call.count, "", 0, 1};
  for (size_t i = 0; i < reference->slots().size(); ++i) {
    const Slot& slot = candidate->slots()[i];
    if (!slot.role.written()) continue;
    const Tensor x = download(slot), expected = download(reference->slots()[i]);
    const Dtype dtype = slot.numbers ? call.input_dtype : slot.memory.dtype();
    const double error = x.dtype() == Dtype::i32 ? differing(x, expected) : relative_error(x, expected);
    const double bound = error_bound(dtype, call.input_dtype);
    if (row.output.empty() || error / bound > row.error / row.bound) {
      row.output = slot.name, row.error = error, row.bound = bound;
    }
  }
  return row;
}

}  // namespace

double error_bound(Dtype output, Dtype inputs) {
  if (output == Dtype::i32) return 1e-3;
  if (output == Dtype::bf16) return 1e-2;
  if (inputs == Dtype::bf16) return 8e-3;  // f32 sums of terms that were rounded to bf16, in hyena_conv three times
  return output == Dtype::f64 && inputs == Dtype::f64 ? 1e-12 : 2e-5;
}

std::vector<CheckRow> check(const Calls& calls, const kernels::Backend& tested) {
  Pool host(kCpu), device(tested.stream.device());  // both given back at the end
  const PoolScope host_scope(host), device_scope(device);
  std::vector<CheckRow> rows;
  for (const std::unique_ptr<Call>& call : calls) {
    const ErrorContext frame("checking " + call->kernel + " " + call->shapes);
    rows.push_back(check(*call, tested));
  }
  return rows;
}

Calls recipe_calls(const train::Recipe& recipe, bool quick) {
  train::Recipe checked = recipe;
  if (quick) {
    checked.train.batch = 1;
    checked.train.micro_batch = 0;
    checked.eval.batch = 1;
  }
  Calls calls = record([&] {
    train::DryRun run(checked);
    run.step();
    run.evaluate();
  });
  return quick ? shortened(calls) : std::move(calls);
}

std::string to_text(const std::vector<CheckRow>& rows) {
  std::string passed, failed;
  for (const CheckRow& row : rows) {
    (row.ok() ? passed : failed) +=
        fmt::format("  {:<21} {:<5} x {:<5} {:<16} {:>9.1e} {:>9.0e}  {:<6} {}\n", row.kernel, to_string(row.dtype),
                    row.count, row.output, row.error, row.bound, row.ok() ? "ok" : "WRONG", row.shapes);
  }
  return fmt::format("  {:<21} {:<5} {:<7} {:<16} {:>9} {:>9}  {:<6} {}\n", "kernel", "dtype", "calls", "worst output",
                     "error", "bound", "", "shapes") +
         passed + failed;
}

void require_ok(const std::vector<CheckRow>& rows, const std::string& advice) {
  std::string wrong;
  for (const CheckRow& row : rows) {
    if (row.ok()) continue;
    wrong += fmt::format("{}{} ({}: error {:.1e}, at most {:.0e} is allowed)", wrong.empty() ? "" : ", ", row.kernel,
                         row.output, row.error, row.bound);
  }
  if (!wrong.empty()) throw Failure("check: not what the CPU computes: " + wrong + "; " + advice);
}

}  // namespace mara::bench
