#pragma once
// The one context a kernel gets.

#include <memory>

#include "core/device.h"
#include "core/pool.h"

namespace mara {

/// An ordered queue of work on a device. On the CPU work is done at once, in the caller's thread and its OpenMP
/// team; on the meta device it is not done at all.
class Stream {
 public:
  explicit Stream(Device device, void* native = nullptr) : device_(device), native_(native) {}

  Device device() const { return device_; }
  /// The backend's own handle; null where there is none.
  void* native() const { return native_; }

  /// Uninitialised memory for `count` elements, valid while the returned object lives.
  template <class T>
  class Scratch {
   public:
    explicit Scratch(std::unique_ptr<Storage> storage) : storage_(std::move(storage)) {}
    T* get() const { return static_cast<T*>(storage_->data()); }
    operator T*() const { return get(); }

   private:
    std::unique_ptr<Storage> storage_;
  };
  template <class T>
  Scratch<T> scratch(int64_t count, const char* kernel = __builtin_FUNCTION()) {
    return Scratch<T>(
        std::make_unique<Storage>(current_pool(device_), count * static_cast<int64_t>(sizeof(T)), kernel));
  }

 private:
  Device device_;
  void* native_;
};

}  // namespace mara
