#include "core/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace mara {
namespace {

/// Of the UTF-8 character that a byte begins; 0: none begins with it.
size_t announced_length(uint8_t byte) {
  return byte < 0x80 ? 1 : byte >> 5 == 6 ? 2 : byte >> 4 == 14 ? 3 : byte >> 3 == 30 ? 4 : 0;
}
bool continues(uint8_t byte) { return byte >> 6 == 2; }

}  // namespace

std::string with_commas(int64_t number) {
  const std::string digits = std::to_string(number < 0 ? -number : number);
  std::string out = number < 0 ? "-" : "";
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string duration(double seconds) {
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);  // from there on it would print as 60.0 s
  const int64_t whole = std::llround(seconds);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string bytes_text(int64_t count) {
  const char* units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(count);
  int unit = 0;
  while (value >= 1024 && unit < 4) value /= 1024, ++unit;
  return unit == 0 ? fmt::format("{} bytes", count) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::string listed(const std::vector<std::string>& lines) {
  constexpr size_t kMost = 20;
  std::string out;
  for (size_t i = 0; i < std::min(lines.size(), kMost); ++i) out += "\n  " + lines[i];
  if (lines.size() > kMost) out += "\n  and " + with_commas(static_cast<int64_t>(lines.size() - kMost)) + " more";
  return out;
}

size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const size_t length = text.empty() ? 0 : announced_length(text[0]);
  if (length < 2) return length;
  uint32_t code = byte(0) & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if (!continues(byte(i))) return 0;
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool forbidden = code < kSmallest[length] || (code >= 0xD800 && code < 0xE000) || code > 0x10FFFF ||
                         code == 0xFFFE || code == 0xFFFF;
  return forbidden ? 0 : length;
}

size_t unfinished_utf8(std::string_view text) {
  for (size_t count = 1; count <= std::min<size_t>(3, text.size()); ++count) {
    const auto byte = static_cast<uint8_t>(text[text.size() - count]);
    if (!continues(byte)) return announced_length(byte) > count ? count : 0;
  }
  return 0;
}

std::string printable(std::string_view text, std::string_view kept) {
  std::string out;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const std::string_view piece = text.substr(0, std::max<size_t>(length, 1));
    const auto first = static_cast<uint8_t>(piece[0]);
    const bool ascii_control = first < ' ' || first == 0x7F;
    const bool c1_control = length == 2 && first == 0xC2 && static_cast<uint8_t>(piece[1]) < 0xA0;
    if (length == 0 || c1_control || (ascii_control && kept.find(piece[0]) == kept.npos)) {
      for (const char c : piece) out += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    } else {
      out += piece;
    }
    text.remove_prefix(piece.size());
  }
  return out;
}

}  // namespace mara
