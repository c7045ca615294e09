#pragma once
// The one context a kernel gets.

#include <memory>

#include "core/device.h"
#include "core/pool.h"

namespace mara {

/// An ordered queue of work on a device. On the CPU work is done at once, in the caller's thread and its OpenMP
/// team; on the meta device it is only counted.
class Stream {
 public:
  explicit Stream(Device device) : device_(device) {}

  Device device() const { return device_; }

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
  Scratch<T> scratch(int64_t count) {
    auto storage = std::make_unique<Storage>(current_pool(device_), count * static_cast<int64_t>(sizeof(T)));
    storage->label = "kernel scratch";
    return Scratch<T>(std::move(storage));
  }

  double counted_flops = 0;  // meta device only

 private:
  Device device_;
};

}  // namespace mara
