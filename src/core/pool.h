#pragma once
// Caching allocator of one device. The step pool is one of these; it must be empty after each step.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/error.h"

namespace mara {

/// One allocation, returned to its pool when the last tensor that shares it is gone.
class Storage {
 public:
  /// `label`: who asks for it, for memory reports and errors. A string literal.
  Storage(class Pool& pool, int64_t bytes, const char* label = "unnamed");
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  Pool& pool() const { return pool_; }
  const char* label;  // later the op that recorded it

 private:
  friend class Pool;
  Pool& pool_;
  void* data_;
  int64_t bytes_;                                  // of its size class
  Storage *previous_ = nullptr, *next_ = nullptr;  // list of live storages of the pool
};

/// The device has no more memory.
class OutOfMemory : public Failure {
 public:
  using Failure::Failure;
};

/// Hands out blocks by size class (four per power of two) and keeps released ones for reuse, so that a step asks
/// the system for memory only the first time it is run. Used by one thread.
class Pool {
 public:
  explicit Pool(Device device);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  Device device() const { return device_; }
  int64_t live_bytes() const { return live_; }
  int64_t peak_bytes() const { return peak_; }
  int64_t reserved_bytes() const { return reserved_; }
  int64_t live_blocks() const { return live_blocks_; }
  void reset_peak() { peak_ = live_; }
  /// How often it took memory from the system or gave some back.
  int64_t system_calls() const { return system_calls_; }
  /// From now on no block is given back to the system: a graph holds their addresses.
  void keep_blocks() { keeps_blocks_ = true; }

  struct Holder {
    std::string label;
    int64_t bytes = 0;
    int64_t blocks = 0;
  };
  /// Live memory by label, largest first.
  std::vector<Holder> holders() const;
  void add_holders(std::map<std::string, Holder>& by_label) const;

 private:
  friend class Storage;
  void* take(int64_t size_class, const char* label);
  void release_free();

  Device device_;
  std::map<int64_t, std::vector<void*>> free_;  // by size class
  Storage* live_list_ = nullptr;
  int64_t live_ = 0, peak_ = 0, reserved_ = 0, live_blocks_ = 0;
  int64_t system_calls_ = 0;
  bool keeps_blocks_ = false;
};

/// "fft_conv 1.2 GiB, linear 300.0 MiB": the `most` first of them.
std::string holders_text(const std::vector<Pool::Holder>& holders, size_t most);

/// What all pools of a device hold, with the largest holders, as text.
std::string memory_in_use(Device device);

/// The pool that Tensor::empty takes memory from on `device`: the innermost PoolScope of that device, or the
/// general pool.
Pool& current_pool(Device device);

/// While in scope, tensors of the pool's device come from `pool`.
class PoolScope {
 public:
  explicit PoolScope(Pool& pool);
  ~PoolScope();
  PoolScope(const PoolScope&) = delete;
  PoolScope& operator=(const PoolScope&) = delete;

 private:
  Pool* previous_;
};

}  // namespace mara
