#include "bench/inputs.h"

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "core/runtime.h"
#include "kernels/common/philox.h"

namespace mara::bench {
namespace {

// Inputs repeat after so many numbers, which saves making them on the host; prime, so that rows of no size are alike.
constexpr int64_t kPeriod = 4194301;
constexpr int64_t kGrain = 1 << 16;  // numbers per chunk, a multiple of 4

// Calls put(i, four random words) for i = 0, 4, 8, ... below `count`.
template <class Put>
void for_random_words(int64_t count, uint64_t key, const Put& put) {
  parallel_chunks(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += 4) {
      put(i, philox::block(key, {static_cast<uint32_t>(i), static_cast<uint32_t>(i >> 32), 0, 0}));
    }
  });
}

size_t bytes(const Tensor& tensor) { return static_cast<size_t>(tensor.numel() * size_of(tensor.dtype())); }

void convert(const Tensor& from, const Tensor& to) {
  auto [k, stream] = kernels::on(from.device());
  k.copy(stream, {.x = from.view(), .y = to.view()});
}

bool plain(const Slot& slot) { return !slot.numbers; }

}  // namespace

Tensor random_values(const Slot& slot, uint64_t index) {
  const int64_t count = slot.memory.numel();
  if (slot.memory.dtype() == Dtype::i32) {
    const Tensor out = Tensor::empty({count}, Dtype::i32, kCpu);
    int32_t* x = out.view().ptr<int32_t>();
    for_random_words(count, index, [&](int64_t i, const philox::Block& words) {
      for (int64_t j = i; j < std::min(count, i + 4); ++j) {
        const uint32_t word = words[static_cast<size_t>(j - i)];
        const bool ignored = slot.role.ignored < 0 && word % 8 == 0;
        x[j] = ignored ? slot.role.ignored
                       : static_cast<int32_t>(philox::below(word, static_cast<uint32_t>(slot.role.bound)));
      }
    });
    return out;
  }
  const Tensor out = Tensor::empty({count}, Dtype::f64, kCpu);
  double* x = out.view().ptr<double>();
  const double width = 2 * std::sqrt(3.0);  // of the interval: variance 1
  for_random_words(count, index, [&](int64_t i, const philox::Block& words) {
    for (int64_t j = i; j < std::min(count, i + 4); ++j) {
      x[j] = width * (static_cast<double>(philox::uniform(words[static_cast<size_t>(j - i)])) - 0.5);
    }
  });
  return out;
}

Tensor download(const Slot& slot) {
  if (!plain(slot))
    return Tensor::from(slot.numbers(), {static_cast<int64_t>(slot.numbers().size())}, Dtype::f64, kCpu);
  const Tensor& memory = slot.memory;
  Tensor same = memory;
  if (memory.device() != kCpu) {
    same = Tensor::empty(memory.shape(), memory.dtype(), kCpu);
    runtime(memory.device()).copy_to_host(same.view().data, memory.view().data, bytes(memory));
  }
  if (memory.dtype() == Dtype::f64 || memory.dtype() == Dtype::i32) return same;
  const Tensor out = Tensor::empty(memory.shape(), Dtype::f64, kCpu);
  convert(same, out);
  return out;
}

void upload(const Tensor& values, const Slot& slot) {
  const Tensor& memory = slot.memory;
  if (memory.device() == kCpu) return convert(values, memory);
  const Tensor same = Tensor::empty(memory.shape(), memory.dtype(), kCpu);
  convert(values, same);
  runtime(memory.device()).copy_to_device(memory.view().data, same.view().data, bytes(memory));
}

void poison(const Slot& slot) {
  auto [k, stream] = kernels::on(slot.memory.device());
  const double nothing = slot.memory.dtype() == Dtype::i32 ? -1 : std::numeric_limits<double>::quiet_NaN();
  k.fill(stream, {.y = slot.memory.view(), .value = nothing});
}

void fill_inputs(Instance& instance) {
  for (size_t i = 0; i < instance.slots().size(); ++i) {
    const Slot& slot = instance.slots()[i];
    if (!slot.role.read() || !plain(slot)) continue;
    const Tensor& memory = slot.memory;
    Slot first = slot;
    first.memory = memory.narrow(0, std::min(memory.numel(), kPeriod));
    upload(random_values(first, i), first);
    for (int64_t done = first.memory.numel(); done < memory.numel();) {
      const int64_t more = std::min(done, memory.numel() - done);
      convert(memory.narrow(0, more), memory.narrow(done, more));
      done += more;
    }
  }
  instance.complete();
}

void copy_inputs(const Instance& from, const Instance& to) {
  for (size_t i = 0; i < from.slots().size(); ++i) {
    const Slot &source = from.slots()[i], &target = to.slots()[i];
    if (!source.role.read()) continue;
    if (source.memory.dtype() == Dtype::f64) {  // single numbers; not every device copies f64
      upload(download(source), target);
    } else {
      convert(source.memory, target.memory);
    }
  }
}

}  // namespace mara::bench
