#pragma once
// Launches on the meta device, shown to whoever wants to know what a computation would do.

#include "kernels/kernels.h"

namespace mara::kernels {

/// Where a kernel is in a table: &Table::matmul.
template <class Args>
using Entry = void (*Table::*)(Stream&, const Args&);

class Observer {
 public:
  virtual ~Observer() = default;
#define KERNEL(name, Args) virtual void name(const Args& args) = 0;
#include "kernels/kernel_list.inc"
#undef KERNEL
};

/// All of them through one template: Derived has launched(const char* name, Entry<Args>, const Args&).
template <class Derived>
class ObserverOf : public Observer {
 public:
#define KERNEL(name, Args) \
  void name(const Args& args) final { static_cast<Derived*>(this)->launched(#name, &Table::name, args); }
#include "kernels/kernel_list.inc"
#undef KERNEL
};

/// While in scope, `observer` is shown every launch on the meta device; an outer one waits.
class ObserverScope {
 public:
  explicit ObserverScope(Observer& observer);
  ~ObserverScope();
  ObserverScope(const ObserverScope&) = delete;
  ObserverScope& operator=(const ObserverScope&) = delete;

 private:
  Observer* previous_;
};

/// Adds up the work of kernels that say what they cost.
class FlopCounter final : public ObserverOf<FlopCounter> {
 public:
  template <class Args>
  void launched(const char*, Entry<Args>, const Args& args) {
    if constexpr (requires { args.flops(); }) flops += args.flops();
  }
  double flops = 0;
};

}  // namespace mara::kernels
