#include "core/staging.h"

#include <cstring>
#include <new>
#include <stdexcept>

#include "core/error.h"
#include "core/log.h"

namespace mara {

Staging::Staging(Device device, size_t bytes) : runtime_(runtime(device)), bytes_(bytes) {
  for (Slot& slot : slots_) {
    slot.memory = {runtime_.allocate_host(bytes), [&runtime = runtime_](void* data) { runtime.release_host(data); }};
    if (slot.memory == nullptr && device.type != DeviceType::meta) throw std::bad_alloc();
    slot.event = runtime_.event();
    slot.event->record();
  }
}

Staging::~Staging() {
  try {
    for (Slot& slot : slots_) slot.event->wait();
  } catch (const Error& error) {
    log_warning(error.what());
  }
}

void Upload::send(void* device, const void* host) {
  Slot& slot = this->slot(sent_++);
  slot.event->wait();
  std::memcpy(slot.memory.get(), host, bytes_);
  runtime_.enqueue_to_device(device, slot.memory.get(), bytes_);
  slot.event->record();
}

void Download::fetch(const void* device) {
  if (fetched_ - collected_ >= kSlots) throw std::logic_error("internal error: a download was never collected");
  Slot& slot = this->slot(fetched_++);
  runtime_.enqueue_to_host(slot.memory.get(), device, bytes_);
  slot.event->record();
}

void Download::collect(void* host) {
  if (collected_ == fetched_) throw std::logic_error("internal error: there is no download to collect");
  Slot& slot = this->slot(collected_++);
  slot.event->wait();
  std::memcpy(host, slot.memory.get(), bytes_);
}

}  // namespace mara
