#pragma once
// What an argument struct says of itself. Its `visit` lists each view once, by what the kernel does with it, and what
// else decides how the kernel runs; `mara check` and `mara bench` need nothing more to run any kernel on its own.

#include <cstdint>

#include "core/view.h"

namespace mara::kernels {

enum class Access : uint8_t { in, out, in_out };

/// What a kernel does with one of its views, and what may be in it.
struct Role {
  Access access = Access::in;
  int64_t bound = 0;        // > 0: indices in [0, bound)
  int32_t ignored = 0;      // < 0: or this
  bool same_dtype = false;  // keeps its dtype where all others become f64

  bool read() const { return access != Access::out; }
  bool written() const { return access != Access::in; }
};

/// The words that structs list themselves with. Derived defines
///   view(const char* name, View&, const Role&)      for every view; it may be empty, being optional
///   option(const char* name, T)                     numbers, flags and enums a body may choose its path by; not those
///                                                   that only select random numbers
///   values(const char* name, const T*&, int64_t count, example)    structs in device memory, read; example(i) is a
///                                                   valid value to try the kernel with
///   out_values(const char* name, T*&)               a struct in device memory, written; T::numbers() are its values
template <class Derived>
class Visitor {
 public:
  void in(const char* name, View& view) { self().view(name, view, {.access = Access::in}); }
  /// Overwritten; `added` says that the kernel adds to what is there instead.
  void out(const char* name, View& view, bool added = false) {
    self().view(name, view, {.access = added ? Access::in_out : Access::out});
  }
  /// Overwritten, and of this dtype whatever the others are.
  void out_always(const char* name, View& view) {
    self().view(name, view, {.access = Access::out, .same_dtype = true});
  }
  void in_out(const char* name, View& view) { self().view(name, view, {.access = Access::in_out}); }
  /// i32 numbers in [0, bound), or `ignored` if that is negative.
  void index(const char* name, View& view, int64_t bound, int32_t ignored = 0) {
    self().view(name, view, {.access = Access::in, .bound = bound, .ignored = ignored});
  }

 private:
  Derived& self() { return static_cast<Derived&>(*this); }
};

}  // namespace mara::kernels
