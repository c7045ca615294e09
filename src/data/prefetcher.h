#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace mara::data {

/// A thread that fills the slots of coming steps while the current one is trained. It touches host memory alone. Since
/// a batch is a function of its step, any step may be asked for at any time; in order they are there already.
class Prefetcher {
 public:
  struct Slot {
    std::vector<int32_t> ids, targets;
  };
  /// Called in the thread. What it throws comes out of take().
  using Fill = std::function<void(int64_t step, std::span<int32_t> ids, std::span<int32_t> targets)>;

  /// `elements`: of ids and of targets.
  Prefetcher(Fill fill, int64_t elements);
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// The batch of `step`, valid until the next call.
  const Slot& take(int64_t step);

 private:
  static constexpr int64_t kSlots = 3;
  struct Entry : Slot {
    int64_t step = -1;  // whose batch it holds; -1: none
  };
  Entry& entry(int64_t step) { return entries_[static_cast<size_t>(step % kSlots)]; }
  void work();

  Fill fill_;
  std::array<Entry, kSlots> entries_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t taken_ = -1, next_ = 0;  // the step lent out, -1: none yet; the step to fill next
  bool stop_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mara::data
