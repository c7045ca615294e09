#pragma once
// A small state with everything a state can have.

#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "devices.h"

namespace mara::checkpoint {

struct ToyState {
  explicit ToyState(double phase)
      : weight(Tensor::from(wave(15, phase), {3, 5}, Dtype::f32, kCpu)),
        half(Tensor::from(wave(7, phase), {7}, Dtype::bf16, kCpu)),
        wide(Tensor::from(wave(8, phase), {2, 2, 2}, Dtype::f64, kCpu)),
        ids(Tensor::from(std::vector<int32_t>{1, -2, static_cast<int32_t>(100 * phase)}, {3}, kCpu)) {}

  Tensor weight, half, wide, ids;
  int64_t step = 1, other = -7;
  std::string identity = "one";
  int rebuilt = 0;

  void state(StateVisitor& v) {
    v.integer("step", step);
    v.integer("other", other);
    v.same("identity", identity);
    v.tensor("weight", weight);
    v.tensor("half", half);
    v.tensor("wide", wide);
    v.tensor("ids", ids);
    v.after_loading([this] { ++rebuilt; });
  }
  StateFunction function() {
    return [this](StateVisitor& v) { state(v); };
  }
  std::vector<std::vector<double>> values() const { return {weight.to_host(), half.to_host(), wide.to_host()}; }
};

inline void save(ToyState& state, const std::filesystem::path& path, std::optional<Score> score = std::nullopt) {
  Snapshot snapshot(state.function());
  snapshot.capture(state.function());
  snapshot.write(path, "run: {name: toy}\n", score);
}

}  // namespace mara::checkpoint
