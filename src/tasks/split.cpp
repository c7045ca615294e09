#include "tasks/split.h"

#include <xxhash.h>

namespace mara::tasks {
namespace {

Split split_of_hash(uint64_t hash) {
  switch (hash >> 61) {
    case 0:
      return Split::valid;
    case 1:
      return Split::test;
    default:
      return Split::train;
  }
}

}  // namespace

uint64_t hash_tokens(std::span<const int32_t> ids) { return XXH3_64bits(ids.data(), ids.size_bytes()); }

Split split_of(std::span<const int32_t> ids) { return split_of_hash(hash_tokens(ids)); }

Split split_of(const Row& row) {
  return row.inputs.empty() ? split_of(row.ids)
                            : split_of_hash(XXH3_64bits(row.inputs.data(), row.inputs.size_bytes()));
}

}  // namespace mara::tasks
