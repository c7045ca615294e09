// Output layer and cross-entropy, chunk by chunk: the three products go through matmul, the softmax between them is
// parallel over tokens. Two bytes of bf16 gradient are kept beside the f32 logits; otherwise it replaces them.

#include <cmath>

#include "core/parallel.h"
#include "kernels/common/matrices.h"
#include "kernels/common/numeric.h"
#include "kernels/cpu/gemm.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

// Elements of a chunk's logits: 64 MiB of f32. Longer chunks read w less often, shorter ones need less memory.
constexpr int64_t kChunkElements = int64_t{1} << 24;

int64_t chunk_tokens(int64_t row) { return std::clamp<int64_t>(kChunkElements / row / 32 * 32, 256, 4096); }

template <class C>
int32_t argmax(const C* x, int64_t n, C max) {
  const C* found = std::find(x, x + n, max);
  return found == x + n ? 0 : static_cast<int32_t>(found - x);  // not found: all NaN
}

/// Loss of one token from its `row` logits, which are left as exponentials of themselves less their maximum. Writes
/// softmax - onehot to `gradient`, if not null; it may be `logits`.
template <class C, class G>
C cross_entropy(C* logits, int64_t row, C max, int32_t target, G* gradient) {
  const C chosen = logits[target];
  C sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < row; ++j) {
    logits[j] = numeric::exp(logits[j] - max);
    sum += logits[j];
  }
  if (gradient != nullptr) {
    const C factor = 1 / sum, at_target = logits[target] * factor - 1;
    for (int64_t j = 0; j < row; ++j) gradient[j] = static_cast<G>(logits[j] * factor);
    gradient[target] = static_cast<G>(at_target);
  }
  return std::log(sum) + (max - chosen);
}

template <class T>
void run(Stream& stream, const LinearCrossEntropy& args) {
  using C = Compute<T>;
  constexpr bool kInPlace = std::is_same_v<T, C>;
  const int64_t tokens = args.x.size(0), n = args.w.size(0), row = whole_vectors(n);
  const int64_t chunk = std::min(tokens, chunk_tokens(row));
  const bool wants_gradient = args.dx || args.dw;
  const int32_t* targets = args.targets.ptr<int32_t>();
  int32_t* predictions = args.predictions ? args.predictions.ptr<int32_t>() : nullptr;
  const View w = rows_of<T>(args.w, 0, n);

  const auto logits = stream.scratch<C>(chunk * row);
  const auto rounded = stream.scratch<T>(kInPlace || !wants_gradient ? 0 : chunk * row);
  T* gradient = nullptr;
  if (wants_gradient) {
    if constexpr (kInPlace) {
      gradient = logits;
    } else {
      gradient = rounded;
    }
  }
  for (int64_t begin = 0; begin < tokens; begin += chunk) {
    const int64_t count = std::min(chunk, tokens - begin);
    const View x = rows_of<T>(args.x, begin, count);
    matmul(stream, {.a = x, .b = transposed(w), .c = matrix(logits, dtype_of<C>, count, n, row)});
    parallel_chunks(count, grain_for(row), [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        C* values = logits + i * row;
        T* d_values = gradient == nullptr ? nullptr : gradient + i * row;
        const int32_t target = targets[begin + i];
        C max = kMinusInfinity<C>, loss = 0;
        std::fill(values + n, values + row, max);
#pragma omp simd reduction(max : max)
        for (int64_t j = 0; j < row; ++j) max = values[j] > max ? values[j] : max;
        if (predictions != nullptr) predictions[begin + i] = argmax(values, n, max);
        if (target != kIgnoredTarget) {
          loss = cross_entropy(values, row, max, target, d_values);
        } else if (d_values != nullptr) {
          std::fill_n(d_values, n, T(0.0f));
        }
        args.loss.ptr<C>()[begin + i] = loss;
      }
    });
    const View d_logits = matrix(gradient, dtype_of<T>, count, n, row);
    if (args.dx) matmul(stream, {.a = d_logits, .b = w, .c = rows_of<T>(args.dx, begin, count)});
    if (args.dw) {
      matmul(stream, {.a = transposed(d_logits), .b = x, .c = rows_of<C>(args.dw, 0, n), .accumulate = begin > 0});
    }
  }
  if (args.dw && tokens == 0) fill(stream, {.y = args.dw});
  const int64_t ignored = std::count(targets, targets + tokens, kIgnoredTarget);
  *args.count.ptr<C>() = static_cast<C>(tokens - ignored);
}

}  // namespace

void linear_cross_entropy(Stream& stream, const LinearCrossEntropy& args) {
  dispatch_float(args.x.dtype, [&]<class T>() { run<T>(stream, args); });
}

}  // namespace mara::kernels::cpu
