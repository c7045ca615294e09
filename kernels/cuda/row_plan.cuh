#pragma once
// Kernels over the rows of a contiguous (N, D) matrix: how the threads share a row out.

#include <algorithm>

#include "kernels/cuda/device.cuh"

namespace mara::kernels::cuda {

inline constexpr int kRowThreads = 256;  // of a block

/// `Threads` threads work on a row, a warp or the whole block. Each keeps `Chunks` packs of V neighbours in registers;
/// with 0 chunks it reads them again in every pass, from L2.
template <int Threads, int Chunks, int V>
struct RowPlan {
  static constexpr int kThreads = Threads, kChunks = Chunks, kVector = V, kRows = kRowThreads / Threads;
};

/// Calls f.template operator()<Plan>() with the plan for rows of d elements, a multiple of V.
template <int V, class F>
void dispatch_rows(int64_t d, F&& f) {
  constexpr int kKept = 32;  // numbers in registers
  if (d <= 32 * V) {
    f.template operator()<RowPlan<32, 1, V>>();
  } else if (d <= 32 * kKept) {
    f.template operator()<RowPlan<32, kKept / V, V>>();
  } else if (V > 1 && d <= kRowThreads * kKept) {
    f.template operator()<RowPlan<kRowThreads, V == 1 ? 0 : kKept / V, V>>();
  } else {
    f.template operator()<RowPlan<kRowThreads, 0, V>>();
  }
}

/// The same for rows of X and Y at these addresses, with packs of up to 16 bytes if sizes and addresses allow.
template <class X, class Y, class F, class... Pointers>
void dispatch_rows(int64_t d, F&& f, Pointers... pointers) {
  constexpr int kVector = std::min(kPerAccess<X>, kPerAccess<Y>);
  if (d % kVector == 0 && aligned(16, pointers...)) {
    dispatch_rows<kVector>(d, f);
  } else {
    dispatch_rows<1>(d, f);
  }
}

/// Blocks for n rows.
template <class Plan>
unsigned row_blocks(int64_t n) {
  return exact_grid(ceil_div(n, Plan::kRows));
}
/// The row this thread works on; it may be beyond the last one, for a whole warp.
template <class Plan>
__device__ __forceinline__ int64_t row_index() {
  return int64_t{blockIdx.x} * Plan::kRows + threadIdx.x / Plan::kThreads;
}
template <class Plan>
__device__ __forceinline__ bool first_of_row() {
  return threadIdx.x % Plan::kThreads == 0;
}

/// f(chunk, index of the first element) for every pack of this thread.
template <class Plan, class F>
__device__ __forceinline__ void for_each_pack(int d, F&& f) {
  const int first = static_cast<int>(threadIdx.x % Plan::kThreads) * Plan::kVector;
  constexpr int kStep = Plan::kThreads * Plan::kVector;
  if constexpr (Plan::kChunks > 0) {
#pragma unroll
    for (int chunk = 0; chunk < Plan::kChunks; ++chunk) {
      if (first + chunk * kStep < d) f(chunk, first + chunk * kStep);
    }
  } else {
    for (int i = first; i < d; i += kStep) f(0, i);
  }
}

/// A row of storage type T as its threads see it, widened.
template <class Plan, class T>
class Row {
 public:
  __device__ __forceinline__ Row(const T* row, int d) : row_(row) {
    if constexpr (kKept) for_each_pack<Plan>(d, [&](int chunk, int i) { load(row + i, kept_[chunk]); });
  }
  __device__ __forceinline__ void get(int chunk, int i, float (&to)[Plan::kVector]) const {
    if constexpr (kKept) {
#pragma unroll
      for (int j = 0; j < Plan::kVector; ++j) to[j] = kept_[chunk][j];
    } else {
      load(row_ + i, to);
    }
  }
  /// Adds `other`, stores the sum in `sum` and goes on with it as stored.
  template <class U>
  __device__ __forceinline__ void add(const U* other, T* sum, int d) {
    for_each_pack<Plan>(d, [&](int chunk, int i) {
      float v[Plan::kVector], w[Plan::kVector];
      get(chunk, i, v), load(other + i, w);
#pragma unroll
      for (int j = 0; j < Plan::kVector; ++j) v[j] = widen(narrow_to<T>(v[j] + w[j]));
      if constexpr (kKept) {
#pragma unroll
        for (int j = 0; j < Plan::kVector; ++j) kept_[chunk][j] = v[j];
      } else {
        store(sum + i, v);
      }
    });
    // Stores after the last load: none would be moved across them.
    if constexpr (kKept) for_each_pack<Plan>(d, [&](int chunk, int i) { store(sum + i, kept_[chunk]); });
    row_ = sum;
  }

 private:
  static constexpr bool kKept = Plan::kChunks > 0;
  const T* row_;  // each element is read by the thread that wrote it
  float kept_[kKept ? Plan::kChunks : 1][Plan::kVector];
};

/// Sum over a row of f(chunk, i), known to all its threads. `shared` holds kRowThreads / 32 floats.
template <class Plan, class F>
__device__ __forceinline__ float row_sum(int d, float* shared, F&& f) {
  float sum = 0;
  for_each_pack<Plan>(d, [&](int chunk, int i) { sum += f(chunk, i); });
  return block_sum<Plan::kThreads>(sum, shared);
}
/// The same for the maximum.
template <class Plan, class F>
__device__ __forceinline__ float row_max(int d, float* shared, F&& f) {
  float max = -INFINITY;
  for_each_pack<Plan>(d, [&](int chunk, int i) { max = fmaxf(max, f(chunk, i)); });
  max = warp_max(max);
  if constexpr (Plan::kThreads == 32) return max;
  __syncthreads();  // the last use of `shared`
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = max;
  __syncthreads();
#pragma unroll
  for (int warp = 0; warp < kRowThreads / 32; ++warp) max = fmaxf(max, shared[warp]);
  return max;
}

}  // namespace mara::kernels::cuda
