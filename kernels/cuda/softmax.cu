// Softmax over rows: bound by memory, one read and one write of the matrix. A warp works on a row of up to 1024
// elements, a block on longer ones, with the row in registers (row_plan.cuh). The exponentials are computed twice
// rather than kept: no registers, and arithmetic is free here.

#include "kernels/cuda/row_plan.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

template <class Plan, class T>
__global__ void __launch_bounds__(kRowThreads) softmax_forward_kernel(const T* x, T* y, int64_t n, int d) {
  constexpr int V = Plan::kVector;
  __shared__ float shared[kRowThreads / 32];
  const int64_t row = row_index<Plan>();
  if (row >= n) return;
  const Row<Plan, T> values(x + row * d, d);
  const float top = row_max<Plan>(d, shared, [&](int chunk, int i) {
    float v[V], max = -INFINITY;  // NaN is skipped here and reaches every element through the sum
    values.get(chunk, i, v);
#pragma unroll
    for (int j = 0; j < V; ++j) max = fmaxf(max, v[j]);
    return max;
  });
  const float sum = row_sum<Plan>(d, shared, [&](int chunk, int i) {
    float v[V], part = 0;
    values.get(chunk, i, v);
#pragma unroll
    for (int j = 0; j < V; ++j) part += __expf(v[j] - top);
    return part;
  });
  const float factor = 1 / sum;
  for_each_pack<Plan>(d, [&](int chunk, int i) {
    float v[V];
    values.get(chunk, i, v);
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = __expf(v[j] - top) * factor;
    store(y + row * d + i, v);
  });
}

template <class Plan, class T>
__global__ void __launch_bounds__(kRowThreads)
    softmax_backward_kernel(const T* y, const T* dy, T* dx, int64_t n, int d) {
  constexpr int V = Plan::kVector;
  __shared__ float shared[kRowThreads / 32];
  const int64_t row = row_index<Plan>();
  if (row >= n) return;
  const Row<Plan, T> weights(y + row * d, d), gradient(dy + row * d, d);
  const float mean = row_sum<Plan>(d, shared, [&](int chunk, int i) {
    float p[V], g[V], part = 0;
    weights.get(chunk, i, p), gradient.get(chunk, i, g);
#pragma unroll
    for (int j = 0; j < V; ++j) part += p[j] * g[j];
    return part;
  });
  for_each_pack<Plan>(d, [&](int chunk, int i) {
    float p[V], g[V];
    weights.get(chunk, i, p), gradient.get(chunk, i, g);
#pragma unroll
    for (int j = 0; j < V; ++j) p[j] *= g[j] - mean;
    store(dx + row * d + i, p);
  });
}

}  // namespace

void softmax_forward(Stream& stream, const SoftmaxForward& args) {
  const int64_t n = args.x.size(0), d = args.x.size(1);
  if (n * d == 0) return;
  dispatch(args.x.dtype, [&]<class T>() {
    const auto launch = [&]<class Plan>() {
      softmax_forward_kernel<Plan><<<row_blocks<Plan>(n), kRowThreads, 0, native(stream)>>>(
          args.x.ptr<T>(), args.y.ptr<T>(), n, static_cast<int>(d));
    };
    dispatch_rows<T, T>(d, launch, args.x.data, args.y.data);
  });
  launched("softmax_forward");
}

void softmax_backward(Stream& stream, const SoftmaxBackward& args) {
  const int64_t n = args.y.size(0), d = args.y.size(1);
  if (n * d == 0) return;
  dispatch(args.y.dtype, [&]<class T>() {
    const auto launch = [&]<class Plan>() {
      softmax_backward_kernel<Plan><<<row_blocks<Plan>(n), kRowThreads, 0, native(stream)>>>(
          args.y.ptr<T>(), args.dy.ptr<T>(), args.dx.ptr<T>(), n, static_cast<int>(d));
    };
    dispatch_rows<T, T>(d, launch, args.y.data, args.dy.data, args.dx.data);
  });
  launched("softmax_backward");
}

}  // namespace mara::kernels::cuda
