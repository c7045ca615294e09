#pragma once
// Numbers as people read them.

#include <cstdint>
#include <string>

namespace mara {

/// "1,234,567"
std::string with_commas(int64_t number);
/// "8.3 s", "2 min 05 s", "1 h 02 min"
std::string duration(double seconds);
/// "512 bytes", "6.6 MiB"
std::string bytes_text(int64_t count);

}  // namespace mara
