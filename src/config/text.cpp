#include "config/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

namespace mara::config {
namespace {

std::string shortest(double value, std::chars_format format) {
  std::array<char, 400> buffer;  // the longest double in fixed form has 309 + 17 characters
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr;
  return {buffer.data(), end};
}

/// Always with a point, so that every YAML reader takes it for a real number: 0.9, 1.0, 6.0e-4.
std::string real_text(double value) {
  const double size = std::abs(value);
  if (value == 0 || (size >= 1e-3 && size < 1e6)) {
    const std::string text = shortest(value, std::chars_format::fixed);
    return text.find('.') == std::string::npos ? text + ".0" : text;
  }
  std::string text = shortest(value, std::chars_format::scientific);  // d[.ddd]e[+-]dd
  const size_t exponent = text.find('e');
  std::string mantissa = text.substr(0, exponent);
  if (mantissa.find('.') == std::string::npos) mantissa += ".0";
  const size_t digits = text.find_first_not_of('0', exponent + 2);
  return mantissa + text.substr(exponent, 2) + text.substr(digits);
}

/// Optimal string alignment distance: insertions, deletions, changes and swaps of neighbours, one each.
int64_t spelling_distance(std::string_view a, std::string_view b) {
  std::vector<int64_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int64_t>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    before_last = std::exchange(last, row);
    row[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

struct TypeName {
  std::string operator()(bool&) const { return "boolean"; }
  std::string operator()(int64_t&) const { return "integer"; }
  std::string operator()(double&) const { return "number"; }
  std::string operator()(std::string&) const { return "text"; }
  std::string operator()(std::vector<int64_t>&) const { return "list of integers"; }
  std::string operator()(std::vector<double>&) const { return "list of numbers"; }
  std::string operator()(std::vector<std::string>&) const { return "text or list of texts"; }
};

struct ValueText {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return real_text(value); }
  std::string operator()(const std::string& value) const { return scalar_text(value); }
  template <class T>
  std::string operator()(const std::vector<T>& values) const {
    std::vector<std::string> parts;
    for (const T& value : values) parts.push_back((*this)(value));
    return detail::join({"[", join(parts), "]"});
  }
};

}  // namespace

std::string type_name(const Ref& value) {
  return std::visit([](auto ref) { return TypeName()(ref.get()); }, value);
}

std::string value_text(const Ref& value) {
  return std::visit([](auto ref) { return ValueText()(ref.get()); }, value);
}

std::string scalar_text(const std::string& text) {
  const auto alphanumeric = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  // Inside a plain scalar these mean nothing to YAML. A first digit, sign or point could make it a number.
  const auto harmless = [&](char c) {
    return alphanumeric(c) || std::string_view("_-./*+=@()").find(c) != std::string_view::npos;
  };
  std::string lower = text;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const std::vector<std::string> words = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"};
  const bool letter_first =
      !text.empty() && ((alphanumeric(text[0]) && text[0] > '9') || text[0] == '_' || text[0] == '/');
  if (letter_first && std::all_of(text.begin(), text.end(), harmless) &&
      std::find(words.begin(), words.end(), lower) == words.end()) {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      std::array<char, 5> escape;
      std::snprintf(escape.data(), escape.size(), "\\x%02x", static_cast<unsigned>(c));
      quoted += escape.data();
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string number_text(double value) {
  std::array<char, 32> buffer;
  return {buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr};
}

std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  int64_t best_distance = 0;
  for (const std::string& candidate : candidates) {
    const int64_t distance = spelling_distance(word, candidate);
    const int64_t length = static_cast<int64_t>(std::max(word.size(), candidate.size()));
    // About one mistake in three letters; more is another word.
    if (3 * distance <= length + 1 && (best.empty() || distance < best_distance)) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates, const std::string& what) {
  const std::string near = nearest(word, candidates);
  return near.empty() ? "; " + what + ": " + join(candidates) : "; did you mean '" + near + "'?";
}

}  // namespace mara::config
