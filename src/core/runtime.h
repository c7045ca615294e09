#pragma once
// What a device must provide besides kernels. All work of a device goes through one stream, in order; on a CPU it is
// done at once, so code that orders work by events and waits runs unchanged.

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"

namespace mara {

/// A place in a device's stream.
class Event {
 public:
  virtual ~Event() = default;
  /// Moves it to the end of what has been enqueued.
  virtual void record() = 0;
  /// Blocks the host until the device has come to it.
  virtual void wait() = 0;
};

/// A recorded sequence of launches, with fixed addresses and shapes.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void launch() = 0;
};

class Runtime {
 public:
  virtual ~Runtime() = default;
  /// At least `bytes`, aligned to 256; null when the device is out of memory.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* data, size_t bytes) noexcept = 0;
  /// Memory of the host from and to which enqueued copies run without the host; aligned to 256.
  virtual void* allocate_host(size_t bytes) = 0;
  virtual void release_host(void* data) noexcept = 0;

  /// The host's memory may be changed when this returns.
  virtual void copy_to_device(void* device, const void* host, size_t bytes) = 0;
  /// Waits for the device.
  virtual void copy_to_host(void* host, const void* device, size_t bytes) = 0;
  /// The same without waiting; `host` is from allocate_host and left alone until an event after it has passed.
  virtual void enqueue_to_device(void* device, const void* host, size_t bytes) { copy_to_device(device, host, bytes); }
  virtual void enqueue_to_host(void* host, const void* device, size_t bytes) { copy_to_host(host, device, bytes); }
  virtual std::unique_ptr<Event> event() = 0;
  /// Device time between the start and the end of what `body` enqueues; waits.
  virtual double seconds(const std::function<void()>& body) = 0;

  /// Records what `body` enqueues, without running it; null where that cannot be done. The body allocates nothing that
  /// its device's pools do not hold already, and does not wait.
  virtual std::unique_ptr<Graph> capture(const std::function<void()>&) { return nullptr; }
  /// The device's own stream, for its kernels.
  virtual void* native_stream() { return nullptr; }
  /// What of the device's memory this process can have.
  virtual int64_t memory_bytes() const = 0;
  /// Name and size, for people.
  virtual std::string description() const = 0;
};

/// The runtime of a device. Throws Error when this build or machine has no such device.
Runtime& runtime(Device device);

/// Defined by the CUDA backend, or by the one file that stands for its absence. cuda_runtime is null where there is no
/// such device, cuda_problem says why and what to do.
Runtime* cuda_runtime(int index);
std::string cuda_problem(int index);

/// Every device that can run kernels here, the CPU first. One process drives one GPU, so there is at most one of them.
std::vector<Device> devices_present();

}  // namespace mara
