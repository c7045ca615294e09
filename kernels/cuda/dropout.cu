// Dropout: one pass over memory (for_each.cuh). The random numbers are computed where they are used, a Philox block for
// four elements, which costs less time than the memory takes.

#include "kernels/common/philox.h"
#include "kernels/cuda/for_each.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

template <class T, int N>
struct Dropping {
  int64_t n;
  const T* x;
  T* y;
  float p, kept;
  uint64_t key;
  const int64_t* step;
  uint32_t op;
  bool vector;

  static_assert(N % 4 == 0);  // items are whole Philox blocks
  struct Values {
    Loaded<T, N> x;
    int64_t step;
  };
  __device__ Values read(int64_t item) const { return {read_some<N>(x + item * N, n - item * N, vector), *step}; }
  __device__ void write(int64_t item, const Values& values) const {
    float out[N];
#pragma unroll
    for (int block = 0; block < N / 4; ++block) {
      const auto uniform = dropout_uniforms(key, values.step, op, static_cast<uint64_t>(item * (N / 4) + block));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        out[4 * block + j] = uniform[j] >= p ? values.x[4 * block + j] / kept : 0.0f;
      }
    }
    write_some<N>(y + item * N, out, n - item * N, vector);
  }
};

}  // namespace

void dropout(Stream& stream, const Dropout& args) {
  dispatch(args.x.dtype, [&]<class T>() {
    constexpr int N = kItem<T>;
    const int64_t n = args.x.numel();
    const T* x = args.x.ptr<T>();
    T* y = args.y.ptr<T>();
    const Dropping<T, N> op{n,
                            x,
                            y,
                            args.p,
                            1 - args.p,
                            philox::key(args.seed, Purpose::dropout),
                            args.step,
                            args.op,
                            aligned(16, x, y)};
    for_each(stream, "dropout", ceil_div(n, N), op);
  });
}

}  // namespace mara::kernels::cuda
