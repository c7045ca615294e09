#pragma once
// Errors a user, recipe, file or device can cause, and where in the program they happened.
// Readable by the CUDA compiler: standard library only.

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace mara {

/// Caused by what the user gave: usage, recipe, file, device. The message says what was required, what came
/// and what to do, followed by one "in ..." line per enclosing ErrorContext, innermost first. Exit code 2.
class Error : public std::runtime_error {
 public:
  explicit Error(std::string_view message);
};

/// The request was fine, carrying it out failed (training diverged, disk full). Exit code 1.
class Failure : public Error {
 public:
  using Error::Error;
};

/// Adds a where-am-I line to every Error thrown while it is in scope.
class ErrorContext {
 public:
  explicit ErrorContext(std::string where);
  ~ErrorContext();
  ErrorContext(const ErrorContext&) = delete;
  ErrorContext& operator=(const ErrorContext&) = delete;
};

namespace detail {

/// One piece of a message: text, number, or anything with a `std::string to_string(const T&)` beside its type.
class Part {
 public:
  Part(std::string_view text) : text_(text) {}
  Part(const char* text) : text_(text) {}
  Part(const std::string& text) : text_(text) {}
  Part(bool value) : text_(value ? "true" : "false") {}
  Part(double value);
  template <class T>
  requires std::is_integral_v<T> Part(T value) : text_(std::to_string(value)) {}
  template <class T>
  requires(std::is_class_v<T> && !std::is_convertible_v<T, std::string_view>) Part(const T& value)
      : text_(to_string(value)) {}
  template <class T>
  requires std::is_enum_v<T> Part(T value) : text_(to_string(value)) {}
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string join(std::initializer_list<Part> parts);
[[noreturn]] void throw_error(std::initializer_list<Part> parts);
[[noreturn]] void throw_internal(const char* what, const char* file, int line);  // std::logic_error

}  // namespace detail
}  // namespace mara

/// Throws Error unless `condition`: MARA_CHECK(ok, "op or key: requirement, actual value, remedy", ...). Kept in
/// release builds; the message is built only on failure.
#define MARA_CHECK(condition, ...)                \
  do {                                            \
    if (!(condition)) [[unlikely]]                \
      ::mara::detail::throw_error({__VA_ARGS__}); \
  } while (false)

/// For our own mistakes, never reachable from input; debug builds only. An expression.
#ifdef NDEBUG
#define MARA_ASSERT(condition) static_cast<void>(0)
#else
#define MARA_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::mara::detail::throw_internal(#condition, __FILE__, __LINE__))
#endif
