#pragma once
// Numbers that go to a device and come back while it works on something else.

#include <cstddef>
#include <memory>
#include <vector>

#include "core/runtime.h"

namespace mara {

/// A few slots of host memory that the device reads or writes on its own, used in turn, so that neither waits for the
/// other unless it is a whole round ahead.
class Staging {
 public:
  Staging(Device device, size_t bytes);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// Enqueues a copy of the host's `bytes` to `device`; the host's memory is free again on return.
  void send(void* device, const void* host);
  /// Enqueues a copy of the device's `bytes` as they will be then.
  void fetch(const void* device);
  /// Waits for the oldest copy fetched and not yet collected.
  void collect(void* host);

 private:
  static constexpr size_t kSlots = 3;
  struct Slot {
    void* memory = nullptr;
    std::unique_ptr<Event> event;
  };
  Slot& next() { return slots_[used_++ % kSlots]; }

  Runtime& runtime_;
  size_t bytes_;
  std::vector<Slot> slots_;
  size_t used_ = 0, collected_ = 0;
};

}  // namespace mara
