// AdamW: one pass over the flat buffers, about 28 bytes of traffic per f32 parameter, which bounds it.

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

double number(const View& x) { return x.dtype == Dtype::f64 ? *x.ptr<double>() : *x.ptr<float>(); }

/// What one range's elements have in common: products of the formula's scalars, formed in double.
template <class C>
struct Coefficients {
  C gradient, beta1, rest1, beta2, rest2, inverse2, eps, rate, decay;

  Coefficients(const AdamW& args, const AdamWRange& range, double gradient_factor)
      : gradient(static_cast<C>(gradient_factor)),
        beta1(args.beta1),
        rest1(1 - static_cast<C>(args.beta1)),
        beta2(args.beta2),
        rest2(1 - static_cast<C>(args.beta2)),
        eps(args.eps) {
    const double t = static_cast<double>(args.scalars->step + 1);
    const double lr = static_cast<double>(args.scalars->lr) * range.lr_scale;
    inverse2 = static_cast<C>(1 / (1 - std::pow(static_cast<double>(args.beta2), t)));
    rate = static_cast<C>(lr / (1 - std::pow(static_cast<double>(args.beta1), t)));
    decay = static_cast<C>(lr * range.weight_decay);
  }
};

template <class C>
void update(const AdamW& args, const Coefficients<C>& k, int64_t begin, int64_t end) {
  C *w = args.master.ptr<C>(), *m = args.m.ptr<C>(), *v = args.v.ptr<C>();
  const C* grad = args.grad.ptr<C>();
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const C g = grad[i] * k.gradient;
    m[i] = k.beta1 * m[i] + k.rest1 * g;
    v[i] = k.beta2 * v[i] + k.rest2 * (g * g);
    w[i] -= k.rate * (m[i] / (std::sqrt(v[i] * k.inverse2) + k.eps)) + k.decay * w[i];
  }
  if (args.compute) {
    bf16* compute = args.compute.ptr<bf16>();
    for (int64_t i = begin; i < end; ++i) compute[i] = bf16(static_cast<float>(w[i]));
  }
}

template <class C>
void run(const AdamW& args, double gradient_factor) {
  constexpr int64_t kChunk = 16384;  // stays in the second-level cache between the two loops of update
  const AdamWRange* last = args.ranges + args.range_count;
  parallel_chunks(args.master.size(0), kChunk, [&](int64_t begin, int64_t end) {
    const AdamWRange* range =
        std::partition_point(args.ranges, last, [&](const AdamWRange& r) { return r.end <= begin; });
    for (; range != last && range->begin < end; ++range) {
      update(args, Coefficients<C>(args, *range, gradient_factor), std::max(begin, range->begin),
             std::min(end, range->end));
    }
  });
}

}  // namespace

void adamw(Stream&, const AdamW& args) {
  const double count = number(args.count);
  const double norm = count > 0 ? std::sqrt(*args.grad_squares.ptr<double>()) / count : 0;
  const bool usable = count > 0 && std::isfinite(norm) && std::isfinite(number(args.loss_sum));
  *args.report = {number(args.loss_sum) / count, norm, usable ? 0 : 1};
  if (!usable) return;
  const double clip_factor = args.clip > 0 && norm > args.clip ? args.clip / norm : 1;
  if (args.master.dtype == Dtype::f64) {
    run<double>(args, clip_factor / count);
  } else {
    run<float>(args, clip_factor / count);
  }
}

}  // namespace mara::kernels::cpu
