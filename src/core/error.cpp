#include "core/error.h"

#include <cstdio>
#include <vector>

namespace mara {
namespace {

thread_local std::vector<std::string> frames;

std::string with_frames(std::string_view message) {
  std::string text(message);
  for (auto frame = frames.rbegin(); frame != frames.rend(); ++frame) text += "\n  in " + *frame;
  return text;
}

}  // namespace

Error::Error(std::string_view message) : std::runtime_error(with_frames(message)) {}

ErrorContext::ErrorContext(std::string where) { frames.push_back(std::move(where)); }
ErrorContext::~ErrorContext() { frames.pop_back(); }

namespace detail {

Part::Part(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%g", value);
  text_ = buffer;
}

std::string join(std::initializer_list<Part> parts) {
  std::string text;
  for (const Part& part : parts) text += part.text();
  return text;
}

void throw_error(std::initializer_list<Part> parts) { throw Error(join(parts)); }

void throw_internal(const char* what, const char* file, int line) {
  throw std::logic_error(join({"internal error: ", what, " at ", file, ":", line}));
}

}  // namespace detail
}  // namespace mara
