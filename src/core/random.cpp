#include "core/random.h"

#include <stdexcept>

namespace mara {
namespace {

thread_local RandomStream* scoped_stream = nullptr;

}  // namespace

RandomScope::RandomScope(RandomStream& stream) : previous_(scoped_stream) { scoped_stream = &stream; }
RandomScope::~RandomScope() { scoped_stream = previous_; }
RandomStream* RandomScope::current() { return scoped_stream; }

RandomStream& random_stream() {
  if (scoped_stream == nullptr) throw std::logic_error("internal error: a random op outside of a RandomScope");
  return *scoped_stream;
}

}  // namespace mara
