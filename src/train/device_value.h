#pragma once

#include <type_traits>

#include "core/runtime.h"
#include "core/tensor.h"

namespace mara::train {

/// One plain struct in device memory: written by the host before a step, read by it after.
template <class T>
class DeviceValue {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 4 == 0);

 public:
  DeviceValue(Device device, const T& value) : memory_(Tensor::empty({sizeof(T) / 4}, Dtype::i32, device)) {
    upload(value);
  }
  T* pointer() const { return memory_.view().template ptr<T>(); }
  void upload(const T& value) { runtime(memory_.device()).copy_to_device(pointer(), &value, sizeof(T)); }
  T download() const {
    T value;
    runtime(memory_.device()).copy_to_host(&value, pointer(), sizeof(T));
    return value;
  }

 private:
  Tensor memory_;
};

}  // namespace mara::train
