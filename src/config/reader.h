#pragma once
// Binds a parsed document to a config's fields.

#include <functional>

#include "config/fields.h"
#include "config/node.h"

namespace mara::config {

/// Binds the mapping `root`; every key of it must be bound, every required key be there.
void read_node(const Node& root, const std::function<void(Fields&)>& bind);

}  // namespace mara::config
