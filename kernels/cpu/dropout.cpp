#include "kernels/common/philox.h"
#include "kernels/cpu/rows.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

// Blocks of four uniform numbers drawn at a time: enough for the ten rounds to run in vectors.
constexpr int64_t kBlocks = 64;

void draw(uint64_t key, int64_t step, uint32_t op, int64_t block, float* uniform) {
#pragma omp simd
  for (int i = 0; i < kBlocks; ++i) {
    const auto drawn = dropout_uniforms(key, step, op, static_cast<uint64_t>(block + i));
    uniform[4 * i] = drawn[0];  // a loop in the loop would keep it from being vectorised
    uniform[4 * i + 1] = drawn[1];
    uniform[4 * i + 2] = drawn[2];
    uniform[4 * i + 3] = drawn[3];
  }
}

}  // namespace

void dropout(Stream&, const Dropout& args) {
  const uint64_t key = philox::key(args.seed, Purpose::dropout);
  const int64_t step = *args.step, n = args.x.numel();
  dispatch_float(args.x.dtype, [&]<class T>() {
    using C = Compute<T>;
    const C kept = 1 - static_cast<C>(args.p);
    parallel_chunks((n + 3) / 4, kGrain / 4, [&](int64_t begin, int64_t end) {
      float uniform[4 * kBlocks];
      for (int64_t block = begin; block < end; block += kBlocks) {
        draw(key, step, args.op, block, uniform);
        const T* x = args.x.ptr<T>() + 4 * block;
        T* y = args.y.ptr<T>() + 4 * block;
        const int64_t count = std::min(4 * std::min(kBlocks, end - block), n - 4 * block);
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) {
          const C scaled = static_cast<C>(x[i]) / kept;
          put(y[i], uniform[i] >= args.p ? scaled : C(0));
        }
      }
    });
  });
}

}  // namespace mara::kernels::cpu
