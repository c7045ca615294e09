#include "io/hash.h"

#include <xxhash.h>

#include <cstdio>

namespace mara::io {

struct Xxh3::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

uint64_t xxh3(const void* data, size_t bytes) { return XXH3_64bits(data, bytes); }

Xxh3::Xxh3() : state_(std::make_unique<State>()) { XXH3_64bits_reset(state_->xxh); }
Xxh3::~Xxh3() = default;
void Xxh3::update(const void* data, size_t bytes) { XXH3_64bits_update(state_->xxh, data, bytes); }
uint64_t Xxh3::digest() const { return XXH3_64bits_digest(state_->xxh); }

std::string hash_text(uint64_t hash) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

}  // namespace mara::io
