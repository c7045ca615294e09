#include "bench/timing.h"

#include <algorithm>
#include <cmath>

#include "bench/inputs.h"
#include "core/runtime.h"

namespace mara::bench {
namespace {

constexpr double kWorkingSet = 256e6;  // bytes: several times any cache
constexpr double kMaxSets = 32;
constexpr double kMaxRounds = 64;
constexpr size_t kFewest = 3;  // samples

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double of_one(const std::function<void(const kernels::Backend&)>& launch, Device device, double effort, bool bytes) {
  const Calls calls = record([&] { launch(kernels::on(kMeta)); });
  const Timed timed = time(*calls.front(), device, effort);
  return (bytes ? timed.bytes : timed.flops) / timed.seconds;
}

View matrix(int64_t rows, int64_t columns, Dtype dtype) {
  const Shape shape{1, rows, columns};
  return {nullptr, dtype, shape, contiguous_strides(shape), true};
}

}  // namespace

Timed time(const Call& call, Device device, double effort) {
  Pool pool(device);  // before all that takes memory from it
  const PoolScope scope(pool);
  const kernels::Backend on = kernels::on(device);
  Runtime& clock = runtime(device);

  std::vector<std::unique_ptr<Instance>> sets;
  sets.push_back(call.instance(device, false));
  fill_inputs(*sets.front());
  const auto launch = [&] { sets.front()->run(on); };
  launch();  // makes library plans, and the pool grow to what is needed
  const double once = std::max(1e-9, clock.seconds(launch));
  const double wanted = std::min({kWorkingSet / std::max(1.0, call.bytes), effort / once, kMaxSets});
  while (static_cast<double>(sets.size()) < wanted) {
    sets.push_back(call.instance(device, false));
    copy_inputs(*sets.front(), *sets.back());
  }
  launch();  // the sets may have taken what was scratch; a capture must find it in the pool
  const double rounds = std::clamp(effort / 20 / once / static_cast<double>(sets.size()), 1.0, kMaxRounds);
  const double launches = std::floor(rounds) * static_cast<double>(sets.size());
  const auto body = [&] {
    for (int64_t i = 0; i < static_cast<int64_t>(launches); ++i) sets[static_cast<size_t>(i) % sets.size()]->run(on);
  };
  const std::unique_ptr<Graph> graph = clock.capture(body);
  const std::function<void()> run = graph != nullptr ? [&] { graph->launch(); } : std::function<void()>(body);
  std::vector<double> samples;
  for (double spent = 0; samples.size() < kFewest || spent < effort;) {
    samples.push_back(clock.seconds(run));
    spent += samples.back();
  }
  return {call.kernel, call.shapes, call.dtype, call.count, median(samples) / launches, call.bytes, call.flops};
}

Ceilings measure_ceilings(Device device, double effort) {
  const bool cpu = device.type == DeviceType::cpu;
  const int64_t rows = cpu ? 2048 : 32768, size = cpu ? 1024 : 8192;
  const Dtype dtype = cpu ? Dtype::f32 : Dtype::bf16;
  const auto copy = [&](const kernels::Backend& meta) {
    meta.k.copy(meta.stream, {.x = matrix(rows, 8192, Dtype::f32), .y = matrix(rows, 8192, Dtype::f32)});
  };
  const auto product = [&](const kernels::Backend& meta) {
    const View square = matrix(size, size, dtype);
    meta.k.matmul(meta.stream, {.a = square, .b = square, .c = square});
  };
  return {.copy = of_one(copy, device, effort, true), .product = of_one(product, device, effort, false)};
}

}  // namespace mara::bench
