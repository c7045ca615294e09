#pragma once

#include <type_traits>

#include "core/staging.h"
#include "core/tensor.h"

namespace mara::train {

/// One plain struct in device memory: written by the host before a step or read by it after.
template <class T>
class DeviceValue {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 4 == 0);

 public:
  explicit DeviceValue(Device device)
      : memory_(Tensor::empty({sizeof(T) / 4}, Dtype::i32, device)), staging_(device, sizeof(T)) {}
  T* pointer() const { return memory_.view().template ptr<T>(); }
  void upload(const T& value) { staging_.send(pointer(), &value); }
  /// Enqueues a copy to the host; collect() waits for the oldest of them.
  void fetch() { staging_.fetch(pointer()); }
  T collect() {
    T value;
    staging_.collect(&value);
    return value;
  }

 private:
  Tensor memory_;
  Staging staging_;
};

}  // namespace mara::train
