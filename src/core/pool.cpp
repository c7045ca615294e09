#include "core/pool.h"

#include <algorithm>
#include <bit>
#include <mutex>

#include "core/format.h"
#include "core/runtime.h"

namespace mara {
namespace {

thread_local Pool* scoped_pool = nullptr;

// Every pool there is. Never destroyed: static tensors may outlive main.
struct Registry {
  std::mutex mutex;
  std::vector<Pool*> pools;
};
Registry& registry() {
  static Registry& all = *new Registry;
  return all;
}

template <class F>
void for_pools_of(Device device, F&& f) {
  const std::lock_guard lock(registry().mutex);
  for (Pool* pool : registry().pools) {
    if (pool->device() == device) f(*pool);
  }
}

std::vector<Pool::Holder> sorted(const std::map<std::string, Pool::Holder>& by_label) {
  std::vector<Pool::Holder> out;
  for (const auto& [label, holder] : by_label) out.push_back(holder);
  std::stable_sort(out.begin(), out.end(),
                   [](const Pool::Holder& a, const Pool::Holder& b) { return a.bytes > b.bytes; });
  return out;
}

// Smallest of {4, 5, 6, 7} * 2^k >= bytes, at least 256: at most 25 % of a block is unused.
int64_t size_class(int64_t bytes) {
  if (bytes <= 256) return 256;
  const int64_t step = std::max<int64_t>(256, std::bit_floor(static_cast<uint64_t>(bytes - 1)) / 4);
  return (bytes + step - 1) / step * step;
}

}  // namespace

Storage::Storage(Pool& pool, int64_t bytes, const char* label) : label(label), pool_(pool), bytes_(size_class(bytes)) {
  data_ = pool.take(bytes_, label);
  pool.live_ += bytes_;
  pool.peak_ = std::max(pool.peak_, pool.live_);
  ++pool.live_blocks_;
  next_ = pool.live_list_;
  if (next_ != nullptr) next_->previous_ = this;
  pool.live_list_ = this;
}

Storage::~Storage() {
  (previous_ != nullptr ? previous_->next_ : pool_.live_list_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  pool_.live_ -= bytes_;
  --pool_.live_blocks_;
  pool_.free_[bytes_].push_back(data_);
}

Pool::Pool(Device device) : device_(device) {
  const std::lock_guard lock(registry().mutex);
  registry().pools.push_back(this);
}

Pool::~Pool() {
  release_free();
  const std::lock_guard lock(registry().mutex);
  std::erase(registry().pools, this);
}

void Pool::release_free() {
  for (auto& [bytes, blocks] : free_) {
    for (void* data : blocks) {
      runtime(device_).release(data, static_cast<size_t>(bytes));
      reserved_ -= bytes;
      ++system_calls_;
    }
  }
  free_.clear();
}

void* Pool::take(int64_t bytes, const char* label) {
  std::vector<void*>& blocks = free_[bytes];
  if (!blocks.empty()) {
    void* data = blocks.back();
    blocks.pop_back();
    return data;
  }
  Runtime& system = runtime(device_);
  void* data = system.allocate(static_cast<size_t>(bytes));
  if (data == nullptr && device_.type != DeviceType::meta) {
    // Blocks of other sizes and other pools may be what is missing.
    for_pools_of(device_, [](Pool& pool) {
      if (!pool.keeps_blocks_) pool.release_free();
    });
    data = system.allocate(static_cast<size_t>(bytes));
  }
  if (data == nullptr && device_.type != DeviceType::meta) {
    throw OutOfMemory(detail::join({"out of memory on ", to_string(device_), ": ", label, " needs ", bytes_text(bytes),
                                    " more; in use are ", memory_in_use(device_)}));
  }
  reserved_ += bytes;
  ++system_calls_;
  return data;
}

std::vector<Pool::Holder> Pool::holders() const {
  std::map<std::string, Holder> by_label;
  add_holders(by_label);
  return sorted(by_label);
}

void Pool::add_holders(std::map<std::string, Holder>& by_label) const {
  for (const Storage* storage = live_list_; storage != nullptr; storage = storage->next_) {
    Holder& holder = by_label[storage->label];
    holder.label = storage->label;
    holder.bytes += storage->bytes_;
    ++holder.blocks;
  }
}

std::string memory_in_use(Device device) {
  std::map<std::string, Pool::Holder> by_label;
  int64_t live = 0, idle = 0;
  for_pools_of(device, [&](const Pool& pool) {
    pool.add_holders(by_label);
    live += pool.live_bytes();
    idle += pool.reserved_bytes() - pool.live_bytes();
  });
  const std::string kept = idle > 0 ? ", and " + bytes_text(idle) + " are kept for reuse" : "";
  return bytes_text(live) + ", most by " + holders_text(sorted(by_label), 3) + kept;
}

std::string holders_text(const std::vector<Pool::Holder>& holders, size_t most) {
  std::string text;
  for (size_t i = 0; i < std::min(most, holders.size()); ++i) {
    text += (i > 0 ? ", " : "") + holders[i].label + " " + bytes_text(holders[i].bytes);
  }
  return text.empty() ? "nothing" : text;
}

Pool& current_pool(Device device) {
  if (scoped_pool != nullptr && scoped_pool->device() == device) return *scoped_pool;
  // One general pool per device, kept for the life of the process: static tensors may outlive main.
  static std::vector<Pool*>& general = *new std::vector<Pool*>;
  for (Pool* pool : general) {
    if (pool->device() == device) return *pool;
  }
  general.push_back(new Pool(device));
  return *general.back();
}

PoolScope::PoolScope(Pool& pool) : previous_(scoped_pool) { scoped_pool = &pool; }
PoolScope::~PoolScope() { scoped_pool = previous_; }

}  // namespace mara
