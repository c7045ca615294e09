#include "data/prefetcher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

namespace mara::data {
namespace {

void fill(int64_t step, std::span<int32_t> ids, std::span<int32_t> targets) {
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int32_t>(100 * step) + static_cast<int32_t>(i);
    targets[i] = -ids[i];
  }
}

void expect_step(const Prefetcher::Slot& slot, int64_t step) {
  std::vector<int32_t> ids(3), targets(3);
  fill(step, ids, targets);
  EXPECT_EQ(slot.ids, ids) << step;
  EXPECT_EQ(slot.targets, targets) << step;
}

TEST(Prefetcher, GivesEveryStep) {
  Prefetcher prefetcher(fill, 3);
  for (int64_t step = 0; step < 200; ++step) expect_step(prefetcher.take(step), step);
}

TEST(Prefetcher, StartsAtAnyStepAndJumps) {
  Prefetcher prefetcher(fill, 3);
  for (const int64_t step : {1000, 1001, 1002, 5, 5, 6, 7, 4, 1003, 1003, 0, 1, 2}) {
    expect_step(prefetcher.take(step), step);
  }
}

TEST(Prefetcher, WorksAheadWithoutTouchingWhatIsLent) {
  std::atomic<int64_t> calls = 0;
  Prefetcher prefetcher(
      [&](int64_t step, std::span<int32_t> ids, std::span<int32_t> targets) {
        fill(step, ids, targets);
        ++calls;
      },
      3);
  const Prefetcher::Slot& slot = prefetcher.take(0);
  while (calls < 3) std::this_thread::yield();  // 0, 1 and 2 fill all slots; a prefetcher that waited would hang here
  expect_step(slot, 0);
  EXPECT_EQ(calls, 3);
  expect_step(prefetcher.take(1), 1);
}

TEST(Prefetcher, ErrorsComeWithTheirStep) {
  Prefetcher prefetcher(
      [](int64_t step, std::span<int32_t> ids, std::span<int32_t> targets) {
        if (step == 2) throw std::runtime_error("step 2");
        fill(step, ids, targets);
      },
      3);
  expect_step(prefetcher.take(0), 0);
  expect_step(prefetcher.take(1), 1);
  EXPECT_THROW(prefetcher.take(2), std::runtime_error);
  EXPECT_THROW(prefetcher.take(2), std::runtime_error);
  expect_step(prefetcher.take(3), 3);
}

TEST(Prefetcher, EndsWithoutBeingAsked) { Prefetcher prefetcher(fill, 3); }

}  // namespace
}  // namespace mara::data
