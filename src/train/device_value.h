#pragma once

#include <type_traits>

#include "core/staging.h"
#include "core/tensor.h"

namespace mara::train {

/// One plain struct in device memory.
template <class T>
class DeviceValue {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 4 == 0);

 public:
  explicit DeviceValue(Device device) : memory_(Tensor::empty({sizeof(T) / 4}, Dtype::i32, device)) {}
  T* pointer() const { return memory_.view().template ptr<T>(); }

 private:
  Tensor memory_;
};

/// Written by the host before a step.
template <class T>
class DeviceInput : public DeviceValue<T> {
 public:
  explicit DeviceInput(Device device) : DeviceValue<T>(device), upload_(device, sizeof(T)) {}
  void upload(const T& value) { upload_.send(this->pointer(), &value); }

 private:
  Upload upload_;
};

/// Read by the host after a step, or while the next one runs.
template <class T>
class DeviceOutput : public DeviceValue<T> {
 public:
  explicit DeviceOutput(Device device) : DeviceValue<T>(device), download_(device, sizeof(T)) {}
  /// Enqueues a copy to the host; collect() waits for the oldest of them.
  void fetch() { download_.fetch(this->pointer()); }
  T collect() {
    T value;
    download_.collect(&value);
    return value;
  }

 private:
  Download download_;
};

}  // namespace mara::train
