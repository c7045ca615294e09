#include "bench/call.h"

#include <map>

#include "bench/complete.h"
#include "core/runtime.h"
#include "kernels/observer.h"

namespace mara::bench {
namespace {

using kernels::Role;

// What tells one call from another, and what of it is shown.
class Reader : public kernels::Visitor<Reader> {
 public:
  explicit Reader(Call& call) : call_(call), key_(call.key) { key_ = call.kernel; }

  void view(const char* name, const View& view, const Role& role) {
    key_ += std::string(" ") + name;
    if (!view) return;
    key_ += to_string(view.shape) + to_string(view.dtype) + (role.access == kernels::Access::in_out ? "+" : "");
    for (int axis = 0; axis < view.shape.rank; ++axis) key_ += "," + std::to_string(view.stride[axis]);
    const std::string shape = to_string(view.shape);
    if (call_.shapes.find(shape) == std::string::npos) call_.shapes += (call_.shapes.empty() ? "" : " ") + shape;
    if (is_float(view.dtype) && !seen_float_) call_.dtype = view.dtype;
    seen_float_ |= is_float(view.dtype);
    if (is_float(view.dtype) && role.read() && size_of(view.dtype) < size_of(call_.input_dtype)) {
      call_.input_dtype = view.dtype;
    }
    int64_t elements = 1;  // different ones: a stride of 0 repeats
    for (int axis = 0; axis < view.shape.rank; ++axis) elements *= view.stride[axis] == 0 ? 1 : view.size(axis);
    const int passes = (role.read() ? 1 : 0) + (role.written() ? 1 : 0);
    call_.bytes += static_cast<double>(passes * elements * size_of(view.dtype));
  }
  template <class T>
  void option(const char* name, T value) {
    key_ += std::string(" ") + name + "=";
    if constexpr (std::is_enum_v<T>) {
      key_ += std::to_string(static_cast<int>(value));
    } else {
      key_ += detail::join({value});
      if (std::is_same_v<T, bool> && value) call_.shapes += std::string(" ") + name;
    }
  }
  template <class T, class Example>
  void values(const char* name, const T*, int64_t count, const Example&) {
    key_ += std::string(" ") + name + std::to_string(count);
  }
  template <class T>
  void out_values(const char*, T*) {}

 private:
  Call& call_;
  std::string& key_;
  bool seen_float_ = false;
};

// Gives the views of a struct memory.
class Binder : public kernels::Visitor<Binder> {
 public:
  Binder(Device device, bool wide, std::vector<Slot>& slots) : device_(device), wide_(wide), slots_(slots) {}

  void view(const char* name, View& view, const Role& role) {
    if (!view) return;
    if (wide_ && is_float(view.dtype) && !role.same_dtype) view.dtype = Dtype::f64;
    const Tensor memory = Tensor::empty(flat(view).shape, view.dtype, device_);
    view.data = memory.view().data;
    slots_.push_back({name, role, memory, {}});
  }
  template <class T>
  void option(const char*, T) {}
  template <class T, class Example>
  void values(const char* name, const T*& pointer, int64_t count, const Example& example) {
    std::vector<T> all;
    for (int64_t i = 0; i < count; ++i) all.push_back(example(i));
    T* memory = structs<T>(name, {.access = kernels::Access::in}, count);
    runtime(device_).copy_to_device(memory, all.data(), all.size() * sizeof(T));
    pointer = memory;
  }
  template <class T>
  void out_values(const char* name, T*& pointer) {
    pointer = structs<T>(name, {.access = kernels::Access::out}, 1);
    slots_.back().numbers = [device = device_, pointer] {
      T value;
      runtime(device).copy_to_host(&value, pointer, sizeof(T));
      const auto numbers = value.numbers();
      return std::vector<double>(numbers.begin(), numbers.end());
    };
  }

 private:
  template <class T>
  T* structs(const char* name, const Role& role, int64_t count) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 4 == 0);
    const Tensor memory = Tensor::empty({count * static_cast<int64_t>(sizeof(T)) / 4}, Dtype::i32, device_);
    slots_.push_back({name, role, memory, [] { return std::vector<double>(); }});
    return memory.view().ptr<T>();
  }

  Device device_;
  bool wide_;
  std::vector<Slot>& slots_;
};

template <class Args>
class TypedInstance final : public Instance {
 public:
  TypedInstance(kernels::Entry<Args> entry, const Args& args, Device device, bool wide)
      : entry_(entry), args_(args), device_(device) {
    Binder binder(device, wide, slots_);
    args_.visit(binder);
  }
  void run(const kernels::Backend& backend) const override { (backend.k.*entry_)(backend.stream, args_); }
  void complete() override { bench::complete(kernels::on(device_), args_); }

 private:
  kernels::Entry<Args> entry_;
  Args args_;
  Device device_;
};

template <class Args>
class TypedCall final : public Call {
 public:
  TypedCall(const char* name, kernels::Entry<Args> entry, const Args& args) : entry_(entry), args_(args) {
    kernel = name;
    Reader reader(*this);
    args_.visit(reader);
    if constexpr (requires { args.bytes(); }) bytes = args.bytes();
    if constexpr (requires { args.flops(); }) flops = args.flops();
  }
  std::unique_ptr<Instance> instance(Device device, bool wide) const override {
    return std::make_unique<TypedInstance<Args>>(entry_, args_, device, wide);
  }
  std::unique_ptr<Call> shortened() const override {
    Args args = args_;
    shorten(args);
    auto out = std::make_unique<TypedCall>(kernel.c_str(), entry_, args);
    out->count = count;
    return out;
  }

 private:
  kernels::Entry<Args> entry_;
  Args args_;
};

// Calls in order of appearance, equal ones once.
class Collection {
 public:
  void add(std::unique_ptr<Call> call) {
    const auto [place, is_new] = by_key_.try_emplace(call->key, calls.size());
    if (is_new) {
      calls.push_back(std::move(call));
    } else {
      calls[place->second]->count += call->count;
    }
  }
  Calls calls;

 private:
  std::map<std::string, size_t> by_key_;
};

class Recorder final : public kernels::ObserverOf<Recorder> {
 public:
  template <class Args>
  void launched(const char* name, kernels::Entry<Args> entry, const Args& args) {
    collection.add(std::make_unique<TypedCall<Args>>(name, entry, args));
  }
  Collection collection;
};

}  // namespace

Calls record(const std::function<void()>& body) {
  Recorder recorder;
  const kernels::ObserverScope scope(recorder);
  body();
  return std::move(recorder.collection.calls);
}

Calls shortened(const Calls& calls) {
  Collection out;
  for (const std::unique_ptr<Call>& call : calls) out.add(call->shortened());
  return std::move(out.calls);
}

}  // namespace mara::bench
