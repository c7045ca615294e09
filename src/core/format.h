#pragma once
// Numbers as people read them, and text as a terminal may be given it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mara {

/// "1,234,567"
std::string with_commas(int64_t number);
/// "8.3 s", "2 min 05 s", "1 h 02 min"
std::string duration(double seconds);
/// "512 bytes", "6.6 MiB"
std::string bytes_text(int64_t count);
/// Each line after a line break and two blanks, as a message lists what is wrong; beyond the first 20 their number.
std::string listed(const std::vector<std::string>& lines);

/// Bytes of the UTF-8 character that `text` begins with; 0 where there is none. Overlong forms, surrogates, values
/// beyond U+10FFFF, U+FFFE and U+FFFF are none.
size_t utf8_length(std::string_view text);
/// Bytes at the end of `text` that begin a UTF-8 character and lack its rest.
size_t unfinished_utf8(std::string_view text);
/// Text from anywhere that can do a terminal or a message no harm: control characters (U+0000-001F, U+007F-009F) but
/// those in `kept`, and bytes that are not UTF-8, become \xNN.
std::string printable(std::string_view text, std::string_view kept = "");

}  // namespace mara
