// Both normalisations are one: RMSNorm is LayerNorm without the mean and the bias.

#include <cmath>

#include "kernels/cpu/rows.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

// The gain as a pointer; ones where there is none.
template <class C>
class Gain {
 public:
  Gain(Stream& stream, const View& gain, int64_t count) : ones_(stream.scratch<C>(gain ? 0 : count)) {
    if (!gain) std::fill_n(ones_.get(), count, C(1));
    data_ = gain ? gain.ptr<C>() : ones_.get();
  }
  const C* data() const { return data_; }

 private:
  Stream::Scratch<C> ones_;
  const C* data_;
};

// Row of sum = x + branch; what follows reads it from the first-level cache.
template <class X>
const X* add_branch(const LayerNormForward& args, int64_t row) {
  const int64_t d = args.x.size(1);
  const X* x = args.x.ptr<X>() + row * d;
  X* sum = args.sum.ptr<X>() + row * d;
  dispatch_float(args.branch.dtype, [&]<class B>() {
    using C = Common<X, B>;
    const B* branch = args.branch.ptr<B>() + row * d;
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) put(sum[i], static_cast<C>(x[i]) + static_cast<C>(branch[i]));
  });
  return sum;
}

template <bool kCentred, class X, class Y>
void forward(Stream& stream, const LayerNormForward& args) {
  using C = Compute<X>;
  const int64_t d = args.x.size(1);
  const Gain<C> gains(stream, args.gain, d);
  const C *gain = gains.data(), *bias = args.bias.ptr<C>();
  parallel_chunks(args.x.size(0), grain_for(d), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const X* x = args.branch ? add_branch<X>(args, row) : args.x.ptr<X>() + row * d;
      Y* y = args.y.ptr<Y>() + row * d;
      C mean = 0;
      if constexpr (kCentred) {
        mean = sum_over<C>(d, [&](int64_t i) { return static_cast<C>(x[i]); }) / d;
        args.mean.ptr<C>()[row] = mean;
      }
      const C squares = sum_over<C>(d, [&](int64_t i) {
        const C centred = static_cast<C>(x[i]) - mean;
        return centred * centred;
      });
      const C rstd = 1 / std::sqrt(squares / d + static_cast<C>(args.eps));
      args.rstd.ptr<C>()[row] = rstd;
#pragma omp simd
      for (int64_t i = 0; i < d; ++i) {
        const C scaled = (static_cast<C>(x[i]) - mean) * rstd * gain[i];
        if constexpr (kCentred) {
          put(y[i], scaled + bias[i]);
        } else {
          put(y[i], scaled);
        }
      }
    }
  });
}

// With n = (x - mean) rstd and g = dy gain: dx = rstd (g - mean(g) - n mean(g n)), dgain = sum of dy n, dbias = sum of
// dy over rows; the latter two are summed for blocks of rows, on the way, and the blocks by reduce_sum.
template <bool kCentred, class X, class Y>
void backward(Stream& stream, const LayerNormBackward& args) {
  constexpr int64_t kRows = 64;
  using C = Compute<X>;
  const int64_t rows = args.x.size(0), d = args.x.size(1), blocks = (rows + kRows - 1) / kRows;
  const Gain<C> gains(stream, args.gain, d);
  const C* gain = gains.data();
  const auto dgain_partial = stream.scratch<C>(args.dgain ? blocks * d : 0);
  const auto dbias_partial = stream.scratch<C>(args.dbias ? blocks * d : 0);
  parallel_chunks(blocks, grain_for(kRows * d), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      C* dgain = args.dgain ? dgain_partial + block * d : nullptr;
      C* dbias = args.dbias ? dbias_partial + block * d : nullptr;
      if (dgain != nullptr) std::fill_n(dgain, d, C(0));
      if (dbias != nullptr) std::fill_n(dbias, d, C(0));
      for (int64_t row = block * kRows; row < std::min(rows, (block + 1) * kRows); ++row) {
        const X* x = args.x.ptr<X>() + row * d;
        const Y* dy = args.dy.ptr<Y>() + row * d;
        const C mean = kCentred ? args.mean.ptr<C>()[row] : C(0), rstd = args.rstd.ptr<C>()[row];
        if (args.dx) {
          X* dx = args.dx.ptr<X>() + row * d;
          const C mean_g =
              kCentred ? sum_over<C>(d, [&](int64_t i) { return static_cast<C>(dy[i]) * gain[i]; }) / d : C(0);
          const C mean_gn =
              sum_over<C>(d,
                          [&](int64_t i) { return static_cast<C>(dy[i]) * gain[i] * (static_cast<C>(x[i]) - mean); }) *
              rstd / d;
          const auto value = [=](int64_t i) {
            const C n = (static_cast<C>(x[i]) - mean) * rstd;
            return rstd * (static_cast<C>(dy[i]) * gain[i] - mean_g - n * mean_gn);
          };
          if (args.accumulate_x) {
#pragma omp simd
            for (int64_t i = 0; i < d; ++i) put(dx[i], static_cast<C>(dx[i]) + value(i));
          } else {
#pragma omp simd
            for (int64_t i = 0; i < d; ++i) put(dx[i], value(i));
          }
        }
        if (dgain != nullptr) {
#pragma omp simd
          for (int64_t i = 0; i < d; ++i) dgain[i] += static_cast<C>(dy[i]) * ((static_cast<C>(x[i]) - mean) * rstd);
        }
        if (dbias != nullptr) {
#pragma omp simd
          for (int64_t i = 0; i < d; ++i) dbias[i] += static_cast<C>(dy[i]);
        }
      }
    }
  });
  const auto finish = [&](C* partial, const View& y, bool accumulate) {
    const Shape shape{1, blocks, d};
    if (y) reduce_sum(stream, {{partial, dtype_of<C>, shape, contiguous_strides(shape), true}, y, accumulate});
  };
  finish(dgain_partial, args.dgain, args.accumulate_gain);
  finish(dbias_partial, args.dbias, args.accumulate_bias);
}

template <bool kCentred>
void dispatch_forward(Stream& stream, const LayerNormForward& args) {
  dispatch_float(args.x.dtype, [&]<class X>() {
    dispatch_float(args.y.dtype, [&]<class Y>() { forward<kCentred, X, Y>(stream, args); });
  });
}

template <bool kCentred>
void dispatch_backward(Stream& stream, const LayerNormBackward& args) {
  dispatch_float(args.x.dtype, [&]<class X>() {
    dispatch_float(args.dy.dtype, [&]<class Y>() { backward<kCentred, X, Y>(stream, args); });
  });
}

}  // namespace

void layer_norm_forward(Stream& stream, const LayerNormForward& args) { dispatch_forward<true>(stream, args); }

void layer_norm_backward(Stream& stream, const LayerNormBackward& args) { dispatch_backward<true>(stream, args); }

void rms_norm_forward(Stream& stream, const RmsNormForward& args) {
  dispatch_forward<false>(stream, {.x = args.x,
                                   .gain = args.gain,
                                   .y = args.y,
                                   .rstd = args.rstd,
                                   .eps = args.eps,
                                   .branch = args.branch,
                                   .sum = args.sum});
}

void rms_norm_backward(Stream& stream, const RmsNormBackward& args) {
  dispatch_backward<false>(stream, {.dy = args.dy,
                                    .x = args.x,
                                    .gain = args.gain,
                                    .rstd = args.rstd,
                                    .dx = args.dx,
                                    .dgain = args.dgain,
                                    .accumulate_gain = args.accumulate_gain,
                                    .accumulate_x = args.accumulate_x});
}

}  // namespace mara::kernels::cpu
