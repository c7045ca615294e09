#include "data/prefetcher.h"

#include <utility>

namespace mara::data {

Prefetcher::Prefetcher(Fill fill, int64_t elements) : fill_(std::move(fill)) {
  for (Entry& entry : entries_) {
    entry.ids.resize(static_cast<size_t>(elements));
    entry.targets.resize(static_cast<size_t>(elements));
  }
  thread_ = std::thread([this] { work(); });
}

Prefetcher::~Prefetcher() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

const Prefetcher::Slot& Prefetcher::take(int64_t step) {
  std::unique_lock lock(mutex_);
  if (step != taken_ + 1 || error_) {  // resumed, asked for again, or stopped: what was filled ahead is of no use
    for (Entry& entry : entries_) entry.step = -1;
    next_ = step;
  }
  taken_ = step;
  error_ = nullptr;
  changed_.notify_all();
  changed_.wait(lock, [&] { return entry(step).step == step || error_; });
  if (entry(step).step != step) std::rethrow_exception(error_);
  return entry(step);
}

void Prefetcher::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    // The slot of the step lent out is not touched.
    changed_.wait(lock, [&] { return stop_ || (taken_ >= 0 && next_ < taken_ + kSlots && !error_); });
    if (stop_) return;
    const int64_t step = next_;
    Entry& slot = entry(step);
    lock.unlock();
    std::exception_ptr error;
    try {
      fill_(step, slot.ids, slot.targets);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (next_ != step) continue;  // another step was asked for meanwhile
    error_ = error;
    if (!error) {
      slot.step = step;
      ++next_;
    }
    changed_.notify_all();
  }
}

}  // namespace mara::data
