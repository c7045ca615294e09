// One channel of one sequence at a time, its modes in the lanes of a few vectors. The outputs of as many steps as there
// are lanes are summed over the lanes together, by a transpose.

#include <algorithm>

#include "core/parallel.h"
#include "core/stream.h"
#include "kernels/cpu/vector.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

template <class C>
using Lanes = Vec<C>*;  // (2, vectors): real parts, then imaginary ones

// `factor` times the M complex numbers at `from`, padded with zeros.
template <class C>
void split(const C* from, int64_t modes, int64_t vectors, C factor, Lanes<C> to) {
  C* out = reinterpret_cast<C*>(to);
  const int64_t width = vectors * kLanes<C>;
  std::fill_n(out, 2 * width, C(0));
  for (int64_t n = 0; n < modes; ++n) out[n] = factor * from[2 * n], out[width + n] = factor * from[2 * n + 1];
}

template <class C>
void join(const Vec<C>* from, int64_t modes, int64_t vectors, C* to) {
  const C* in = reinterpret_cast<const C*>(from);
  for (int64_t n = 0; n < modes; ++n) to[2 * n] = in[n], to[2 * n + 1] = in[vectors * kLanes<C> + n];
}

/// A channel, in lanes; q and r are null for diagonal systems.
template <class C>
struct Channel {
  int64_t vectors;
  const Vec<C>*lambda, *b, *c, *q, *r;
};

/// T steps of a sequence from the state x on. kVectors is their number where it is common, so that the state stays in
/// registers, else 0.
template <int kVectors, class T, class C = Compute<T>>
void advance(const Channel<C>& system, Vec<C>* state, const T* u, T* y, int64_t length) {
  using V = Vec<C>;
  const int64_t m = kVectors > 0 ? kVectors : system.vectors;
  V local[std::max(1, 2 * kVectors)];
  V* x = kVectors > 0 ? local : state;
  if (kVectors > 0) std::copy_n(state, 2 * m, x);
  const auto [vectors, lambda, b, c, q, r] = system;
  for (int64_t first = 0; first < length; first += kLanes<C>) {
    V outputs[kLanes<C>] = {};  // of a step each, to be summed over lanes
    for (int64_t t = 0; t < std::min<int64_t>(kLanes<C>, length - first); ++t) {
      C feedback = 0;
      if (q != nullptr) {
        V sum = {};
        for (int64_t i = 0; i < m; ++i) sum += r[i] * x[i] - r[m + i] * x[m + i];
        feedback = sum_lanes<C>(sum);
      }
      const C input = static_cast<C>(u[first + t]);
      V sum = {};
      for (int64_t i = 0; i < m; ++i) {
        V re = lambda[i] * x[i] - lambda[m + i] * x[m + i] + b[i] * input;
        V im = lambda[i] * x[m + i] + lambda[m + i] * x[i] + b[m + i] * input;
        if (q != nullptr) re -= q[i] * feedback, im -= q[m + i] * feedback;
        x[i] = re, x[m + i] = im;
        sum += c[i] * re - c[m + i] * im;
      }
      outputs[t] = sum;
    }
    transpose<C>(outputs);
    V all = outputs[0];
    for (int lane = 1; lane < kLanes<C>; ++lane) all += outputs[lane];
    store(y + first, all, length - first);
  }
  if (kVectors > 0) std::copy_n(x, 2 * m, state);
}

template <class T>
void scan(Stream& stream, const SsmScan& a) {
  using C = Compute<T>;
  using V = Vec<C>;
  const int64_t channels = a.u.size(0), batches = a.u.size(1), length = a.u.size(2), modes = a.lambda.size(1);
  const int64_t m = (modes + kLanes<C> - 1) / kLanes<C>;
  constexpr int kArrays = 6;
  const auto memory = stream.scratch<V>(thread_count() * kArrays * 2 * m);
  parallel_chunks(channels, grain_for(batches * length * modes, 1 << 15), [&](int64_t begin, int64_t end) {
    V* work = memory + omp_get_thread_num() * kArrays * 2 * m;
    const auto array = [&](int i) { return work + 2 * m * i; };
    for (int64_t h = begin; h < end; ++h) {
      const auto read = [&](const View& view, C factor, V* to) {
        split<C>(view.ptr<C>() + 2 * modes * h, modes, m, factor, to);
        return to;
      };
      const Channel<C> system{m,
                              read(a.lambda, 1, array(0)),
                              read(a.b, 1, array(1)),
                              read(a.c, 2, array(2)),
                              a.q ? read(a.q, 1, array(3)) : nullptr,
                              a.q ? read(a.r, 2, array(4)) : nullptr};
      V* x = array(5);
      for (int64_t row = 0; row < batches; ++row) {
        const T* u = a.u.ptr<T>() + h * a.u.stride[0] + row * a.u.stride[1];
        T* y = a.y.ptr<T>() + h * a.y.stride[0] + row * a.y.stride[1];
        C* state = a.state.ptr<C>() + 2 * modes * (h * batches + row);
        split<C>(state, modes, m, 1, x);
        (m == 1   ? advance<1, T>
         : m == 2 ? advance<2, T>
         : m == 4 ? advance<4, T>
                  : advance<0, T>)(system, x, u, y, length);
        join<C>(x, modes, m, state);
      }
    }
  });
}

}  // namespace

void ssm_scan(Stream& stream, const SsmScan& args) {
  dispatch_float(args.u.dtype, [&]<class T>() { scan<T>(stream, args); });
}

}  // namespace mara::kernels::cpu
