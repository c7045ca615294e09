#pragma once
// Numbers that go to a device and come back while it works on something else.

#include <array>
#include <cstddef>
#include <memory>

#include "core/runtime.h"

namespace mara {

/// A few pieces of host memory that a device reads or writes on its own, used in turn.
class Staging {
 public:
  Staging(Device device, size_t bytes);
  /// Waits until the device has done with them.
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

 protected:
  static constexpr size_t kSlots = 3;
  struct Slot {
    std::unique_ptr<void, std::function<void(void*)>> memory;
    std::unique_ptr<Event> event;  // behind the last copy
  };
  Slot& slot(size_t turn) { return slots_[turn % kSlots]; }

  Runtime& runtime_;
  size_t bytes_;
  std::array<Slot, kSlots> slots_;
};

class Upload : public Staging {
 public:
  using Staging::Staging;
  /// Enqueues a copy of the host's bytes to the device. The host's memory is free again on return, which waits only if
  /// the device is a whole round behind.
  void send(void* device, const void* host);

 private:
  size_t sent_ = 0;
};

class Download : public Staging {
 public:
  using Staging::Staging;
  /// Enqueues a copy of the device's bytes as they will be then. At most three may be under way.
  void fetch(const void* device);
  /// Waits for the oldest copy that was fetched and not yet collected.
  void collect(void* host);

 private:
  size_t fetched_ = 0, collected_ = 0;
};

}  // namespace mara
