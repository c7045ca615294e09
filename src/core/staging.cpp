#include "core/staging.h"

#include <cstring>

#include "core/error.h"

namespace mara {

Staging::Staging(Device device, size_t bytes) : runtime_(runtime(device)), bytes_(bytes), slots_(kSlots) {
  for (Slot& slot : slots_) {
    slot.memory = runtime_.allocate_host(bytes);
    slot.event = runtime_.event();
    slot.event->record();
  }
}

Staging::~Staging() {
  for (Slot& slot : slots_) runtime_.release_host(slot.memory);
}

void Staging::send(void* device, const void* host) {
  Slot& slot = next();
  slot.event->wait();
  std::memcpy(slot.memory, host, bytes_);
  runtime_.enqueue_to_device(device, slot.memory, bytes_);
  slot.event->record();
}

void Staging::fetch(const void* device) {
  MARA_ASSERT(used_ - collected_ < kSlots);
  Slot& slot = next();
  runtime_.enqueue_to_host(slot.memory, device, bytes_);
  slot.event->record();
}

void Staging::collect(void* host) {
  Slot& slot = slots_[collected_++ % kSlots];
  slot.event->wait();
  std::memcpy(host, slot.memory, bytes_);
}

}  // namespace mara
