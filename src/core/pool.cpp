#include "core/pool.h"

#include <algorithm>
#include <bit>

#include "core/format.h"
#include "core/runtime.h"

namespace mara {
namespace {

thread_local Pool* scoped_pool = nullptr;

// Smallest of {4, 5, 6, 7} * 2^k >= bytes, at least 256: at most 25 % of a block is unused.
int64_t size_class(int64_t bytes) {
  if (bytes <= 256) return 256;
  const int64_t step = std::max<int64_t>(256, std::bit_floor(static_cast<uint64_t>(bytes - 1)) / 4);
  return (bytes + step - 1) / step * step;
}

}  // namespace

Storage::Storage(Pool& pool, int64_t bytes) : pool_(pool), bytes_(size_class(bytes)) {
  data_ = pool.take(bytes_);
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

Pool::~Pool() { release_free(); }

void Pool::release_free() {
  for (auto& [bytes, blocks] : free_) {
    for (void* data : blocks) {
      runtime(device_).release(data, static_cast<size_t>(bytes));
      reserved_ -= bytes;
    }
  }
  free_.clear();
}

void* Pool::take(int64_t bytes) {
  std::vector<void*>& blocks = free_[bytes];
  if (!blocks.empty()) {
    void* data = blocks.back();
    blocks.pop_back();
    return data;
  }
  void* data = runtime(device_).allocate(static_cast<size_t>(bytes));
  if (data == nullptr && device_.type != DeviceType::meta && !keeps_blocks_) {
    release_free();  // blocks of other sizes may be what is missing
    data = runtime(device_).allocate(static_cast<size_t>(bytes));
  }
  if (data == nullptr && device_.type != DeviceType::meta) {
    throw OutOfMemory(detail::join({"out of memory on ", to_string(device_), ": ", bytes_text(bytes),
                                    " more were needed beside ", bytes_text(live_), " in use by ", holders_text(3)}));
  }
  reserved_ += bytes;
  return data;
}

std::vector<Pool::Holder> Pool::holders() const {
  std::map<std::string, Holder> by_label;
  for (const Storage* storage = live_list_; storage != nullptr; storage = storage->next_) {
    Holder& holder = by_label[storage->label];
    holder.label = storage->label;
    holder.bytes += storage->bytes_;
    ++holder.blocks;
  }
  std::vector<Holder> sorted;
  for (auto& [label, holder] : by_label) sorted.push_back(holder);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Holder& a, const Holder& b) { return a.bytes > b.bytes; });
  return sorted;
}

std::string Pool::holders_text(size_t most) const {
  std::string text;
  const std::vector<Holder> all = holders();
  for (size_t i = 0; i < std::min(most, all.size()); ++i) {
    text += (i > 0 ? ", " : "") + all[i].label + " " + bytes_text(all[i].bytes);
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
