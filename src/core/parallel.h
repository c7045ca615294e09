#pragma once
// The CPU's only way to use several threads. Results never depend on their number: work is cut by shape.

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>

namespace mara {

/// Number of threads parallel_chunks may use.
inline int thread_count() { return omp_get_max_threads(); }
inline void set_thread_count(int threads) { omp_set_num_threads(threads); }

/// Calls body(begin, end) for consecutive chunks of [0, n), each of `grain` items but the last. Chunks depend on n
/// and grain alone and must write disjoint results. Nested calls run in the calling thread.
template <class Body>
void parallel_chunks(int64_t n, int64_t grain, const Body& body) {
  const int64_t chunks = (n + grain - 1) / grain;
  if (chunks <= 1 || omp_in_parallel() || omp_get_max_threads() == 1) {
    for (int64_t begin = 0; begin < n; begin += grain) body(begin, std::min(n, begin + grain));
    return;
  }
  // No exception may leave a parallel region; the one of the first chunk that failed is thrown after it.
  std::exception_ptr error;
  int64_t failed = chunks;
#pragma omp parallel for schedule(static)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    try {
      body(chunk * grain, std::min(n, (chunk + 1) * grain));
    } catch (...) {
#pragma omp critical(mara_parallel_chunks)
      if (chunk < failed) {
        failed = chunk;
        error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

/// Items per chunk so that a chunk holds about `target` units of work, given the units of one item.
inline int64_t grain_for(int64_t units_per_item, int64_t target = 16384) {
  return std::max<int64_t>(1, target / std::max<int64_t>(1, units_per_item));
}

}  // namespace mara
