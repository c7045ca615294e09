#pragma once
// The stream of random numbers of a step: ops draw from it in order, so a number is a pure function of
// (seed, step, op index, element) and recomputing a stretch of ops only needs the index restored.

#include <cstdint>

namespace mara {

struct RandomStream {
  uint64_t seed = 0;
  const int64_t* step = nullptr;  // in the device's memory: a captured step must not bake it in
  uint32_t next_op = 0;
};

/// The stream random ops use: the one of the innermost RandomScope. Throws std::logic_error without one.
RandomStream& random_stream();

class RandomScope {
 public:
  explicit RandomScope(RandomStream& stream);
  ~RandomScope();
  RandomScope(const RandomScope&) = delete;
  RandomScope& operator=(const RandomScope&) = delete;
  static RandomStream* current();  // null without one

 private:
  RandomStream* previous_;
};

}  // namespace mara
