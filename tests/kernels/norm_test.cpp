#include <cmath>

#include "compare.h"
#include "devices.h"
#include "kernels/kernels.h"
#include "threads.h"

namespace mara::kernels {
namespace {

using Values = std::vector<double>;

struct Sizes {
  int64_t rows, columns;
};
constexpr Sizes kSizes[] = {{1, 1}, {3, 17}, {17, 3}, {129, 1000}, {1, 65537}, {1000, 64}};

// The formulas of kernels/norm.h in f64; RMSNorm is the case without mean.
struct Reference {
  bool centred;
  int64_t rows, columns;
  Values x, gain, bias, dy;
  double eps = 1e-5;
  Values y, mean, rstd, dx, dgain, dbias;

  void run() {
    y.resize(x.size());
    dx.resize(x.size());
    mean.assign(rows, 0);
    rstd.assign(rows, 0);
    dgain.assign(columns, 0);
    dbias.assign(columns, 0);
    for (int64_t r = 0; r < rows; ++r) {
      const double* at = &x[r * columns];
      double squares = 0, mean_g = 0, mean_gn = 0;
      for (int64_t i = 0; i < columns; ++i) mean[r] += centred ? at[i] / columns : 0;
      for (int64_t i = 0; i < columns; ++i) squares += (at[i] - mean[r]) * (at[i] - mean[r]);
      rstd[r] = 1 / std::sqrt(squares / columns + eps);
      const auto n = [&](int64_t i) { return (at[i] - mean[r]) * rstd[r]; };
      for (int64_t i = 0; i < columns; ++i) {
        const double g = dy[r * columns + i] * gain[i];
        y[r * columns + i] = n(i) * gain[i] + bias[i];
        dgain[i] += dy[r * columns + i] * n(i);
        dbias[i] += dy[r * columns + i];
        mean_g += centred ? g / columns : 0;
        mean_gn += g * n(i) / columns;
      }
      for (int64_t i = 0; i < columns; ++i) {
        dx[r * columns + i] = rstd[r] * (dy[r * columns + i] * gain[i] - mean_g - n(i) * mean_gn);
      }
    }
  }
};

class NormTest : public OnDevice {
 protected:
  Tensor make(const Values& values, Dtype dtype) const {
    return Tensor::from(values, {static_cast<int64_t>(values.size())}, dtype, device());
  }

  // Runs both passes and compares with the reference; gradients are added to sevens if `accumulate`.
  void check(bool centred, Sizes sizes, Dtype dx, Dtype dy, bool accumulate, bool with_gain = true) const {
    auto [k, stream] = on(device());
    const auto [rows, columns] = sizes;
    const int64_t n = rows * columns;
    const Dtype statistics = compute_dtype(dx);
    const Tensor x = Tensor::from(wave(n, 0, 2), {rows, columns}, dx, device());
    const Tensor upstream = Tensor::from(wave(n, 2), {rows, columns}, dy, device());
    const Tensor gain = with_gain ? make(wave(columns, 1), statistics) : Tensor();
    const Tensor bias = make(wave(columns, 3), statistics);
    const Tensor y = Tensor::empty({rows, columns}, dy, device());
    const Tensor grad = Tensor::from(Values(n, 7), {rows, columns}, dx, device());
    const Tensor mean = make(Values(rows, 0), statistics), rstd = make(Values(rows, 0), statistics);
    const Tensor dgain = make(Values(columns, 7), statistics), dbias = make(Values(columns, 7), statistics);
    if (centred) {
      k.layer_norm_forward(stream, {x.view(), gain.view(), bias.view(), y.view(), mean.view(), rstd.view()});
      k.layer_norm_backward(stream, {upstream.view(), x.view(), gain.view(), mean.view(), rstd.view(), grad.view(),
                                     dgain.view(), dbias.view(), accumulate, accumulate, accumulate});
    } else {
      k.rms_norm_forward(stream, {x.view(), gain.view(), y.view(), rstd.view()});
      k.rms_norm_backward(stream, {upstream.view(), x.view(), gain.view(), rstd.view(), grad.view(), dgain.view(),
                                   accumulate, accumulate});
    }

    Reference expected{centred, rows, columns, x.to_host()};
    expected.gain = with_gain ? gain.to_host() : Values(columns, 1);
    expected.bias = centred ? bias.to_host() : Values(columns, 0);
    expected.dy = upstream.to_host();
    expected.run();
    if (accumulate) {
      for (double& v : expected.dgain) v += 7;
      for (double& v : expected.dbias) v += 7;
      for (double& v : expected.dx) v += 7;
    }
    // One column makes rstd 1 / sqrt(eps) and magnifies rounding by as much.
    const double compute = (statistics == Dtype::f64 ? 1e-13 : 2e-6) * (columns == 1 ? 300 : 1);
    expect_close(y.to_host(), expected.y, std::max(compute, rounding(dy)));
    expect_close(rstd.to_host(), expected.rstd, compute);
    expect_close(grad.to_host(), expected.dx, std::max(compute, rounding(dx)));
    EXPECT_LT(relative_error(dgain.to_host(), expected.dgain), 5 * compute);
    if (centred) {
      expect_close(mean.to_host(), expected.mean, compute);
      EXPECT_LT(relative_error(dbias.to_host(), expected.dbias), 5 * compute);
    }
  }
};

TEST_P(NormTest, MatchesTheFormulasAtAwkwardSizes) {
  for (Sizes sizes : kSizes) {
    for (bool centred : {false, true}) check(centred, sizes, Dtype::f32, Dtype::f32, false);
  }
  // Rows that share a block on a GPU: the last block is full or not, or takes several rounds.
  for (Sizes sizes : {Sizes{700, 100}, {333, 31}, {40000, 8}}) check(true, sizes, Dtype::f32, Dtype::f32, true);
}

TEST_P(NormTest, EveryDtypeWithAndWithoutAccumulation) {
  for (Dtype dx : floating_dtypes(device())) {
    for (Dtype dy : floating_dtypes(device())) {
      for (bool accumulate : {false, true}) {
        check(true, {150, 70}, dx, dy, accumulate);
        check(false, {150, 70}, dx, dy, accumulate);
        check(false, {150, 70}, dx, dy, accumulate, false);
      }
    }
  }
}

// With a branch: the sum as add rounds it, and the same bits as the norm of that sum gives on its own.
TEST_P(NormTest, OfASumIsTheNormOfTheSum) {
  auto [k, stream] = on(device());
  for (Sizes sizes : kSizes) {
    for (Dtype dx : floating_dtypes(device())) {
      for (Dtype branch_dtype : floating_dtypes(device())) {
        const Shape shape{sizes.rows, sizes.columns};
        const Tensor x = Tensor::from(wave(shape.numel(), 0, 2), shape, dx, device());
        const Tensor branch = Tensor::from(wave(shape.numel(), 2), shape, branch_dtype, device());
        const Tensor added = Tensor::empty_like(x), sum = Tensor::empty_like(x);
        k.add(stream, {.a = x.view(), .b = branch.view(), .y = added.view()});
        const Dtype statistics = compute_dtype(dx);
        const Tensor gain = make(wave(sizes.columns, 1), statistics), bias = make(wave(sizes.columns, 3), statistics);
        const auto run = [&](bool centred, const Tensor& x, const Tensor& branch, const Tensor& sum) {
          const Tensor y = Tensor::empty_like(x);
          const Tensor mean = make(Values(sizes.rows, 0), statistics), rstd = make(Values(sizes.rows, 0), statistics);
          if (centred) {
            k.layer_norm_forward(stream, {.x = x.view(),
                                          .gain = gain.view(),
                                          .bias = bias.view(),
                                          .y = y.view(),
                                          .mean = mean.view(),
                                          .rstd = rstd.view(),
                                          .branch = branch.view(),
                                          .sum = sum.view()});
          } else {
            k.rms_norm_forward(stream, {.x = x.view(),
                                        .gain = gain.view(),
                                        .y = y.view(),
                                        .rstd = rstd.view(),
                                        .branch = branch.view(),
                                        .sum = sum.view()});
          }
          return concatenate({y.to_host(), mean.to_host(), rstd.to_host()});
        };
        SCOPED_TRACE(to_string(shape) + " " + to_string(dx) + " and " + to_string(branch_dtype));
        for (bool centred : {false, true}) {
          const Values expected = run(centred, added, {}, {});
          EXPECT_EQ(run(centred, x, branch, sum), expected);
          EXPECT_EQ(sum.to_host(), added.to_host());
          if (sizes.columns > 1) {
            EXPECT_NE(run(centred, x, {}, {}), expected);
          }
        }
      }
    }
  }
}

TEST_P(NormTest, AbsentOutputsAreNotMissed) {
  auto [k, stream] = on(device());
  const Tensor x = Tensor::from(wave(200, 0), {10, 20}, Dtype::f32, device()), gain = make(wave(20, 1), Dtype::f32);
  const Tensor mean = make(Values(10, 0.1), Dtype::f32), rstd = make(Values(10, 2), Dtype::f32);
  const auto run = [&](const Tensor& dx, const Tensor& dgain, const Tensor& dbias) {
    k.layer_norm_backward(
        stream, {x.view(), x.view(), gain.view(), mean.view(), rstd.view(), dx.view(), dgain.view(), dbias.view()});
  };
  const auto empty = [&] {
    return std::array{Tensor::empty_like(x), Tensor::empty_like(gain), Tensor::empty_like(gain)};
  };
  const auto all = empty(), one_each = empty();
  run(all[0], all[1], all[2]);
  run(one_each[0], {}, {});
  run({}, one_each[1], {});
  run({}, {}, one_each[2]);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(one_each[i].to_host(), all[i].to_host());
}

TEST_P(NormTest, LargeMeanDoesNotDrownTheVariance) {
  // E[x^2] - E[x]^2 would lose all of a variance of 0.5 beside 1e8.
  Values values = wave(256, 0);
  for (double& v : values) v += 1e4;
  Reference expected{true, 1, 256};
  auto [k, stream] = on(device());
  const Tensor x = Tensor::from(values, {1, 256}, Dtype::f32, device()), y = Tensor::empty_like(x);
  const Tensor gain = make(Values(256, 1), Dtype::f32), bias = make(Values(256, 0), Dtype::f32);
  const Tensor mean = make({0}, Dtype::f32), rstd = make({0}, Dtype::f32);
  k.layer_norm_forward(stream, {x.view(), gain.view(), bias.view(), y.view(), mean.view(), rstd.view()});
  expected.x = x.to_host();
  expected.gain = gain.to_host();
  expected.bias = bias.to_host();
  expected.dy = Values(256, 0);
  expected.run();
  EXPECT_NEAR(rstd.item() / expected.rstd[0], 1, 1e-5);
}

TEST_P(NormTest, NanStaysInItsRow) {
  auto [k, stream] = on(device());
  Values values = wave(60, 0);
  values[25] = NAN;
  const Tensor x = Tensor::from(values, {3, 20}, Dtype::f32, device()), y = Tensor::empty_like(x);
  const Tensor rstd = make(Values(3, 0), Dtype::f32);
  k.rms_norm_forward(stream, {x.view(), {}, y.view(), rstd.view()});
  const Values out = y.to_host();
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i / 20 == 1) << i;
}

// Golden values of the Parcae paper's RMSNorm, with gain (eps 1e-5) and without (eps 2^-23).
TEST_P(NormTest, Parcae_16_3_rms_norm) {
  auto [k, stream] = on(device());
  const auto run = [&](Dtype dtype, const Tensor& gain, double eps) {
    const Tensor x = Tensor::from(Values{1, 2, 3, 4}, {1, 4}, dtype, device());
    const Tensor dy = Tensor::from(Values{1, 0, -1, 0.5}, {1, 4}, dtype, device());
    const Tensor y = Tensor::empty_like(x), dx = Tensor::empty_like(x), rstd = make({0}, dtype);
    const Tensor dgain = gain.defined() ? Tensor::empty_like(gain) : Tensor();
    k.rms_norm_forward(stream, {x.view(), gain.view(), y.view(), rstd.view(), eps});
    k.rms_norm_backward(stream, {dy.view(), x.view(), gain.view(), rstd.view(), dx.view(), dgain.view()});
    return std::array{rstd.to_host(), y.to_host(), dx.to_host(), gain.defined() ? dgain.to_host() : Values()};
  };
  for (Dtype dtype : floating_dtypes(device())) {
    if (dtype == Dtype::bf16) continue;
    const double error = dtype == Dtype::f64 ? 1e-9 : 3e-7;
    const auto [rstd, y, dx, dgain] = run(dtype, make({1, 1, 0.5, 2}, dtype), 1e-5);
    expect_close(rstd, {0.3651481282381064}, error);
    expect_close(y, {0.365148128, 0.730296256, 0.547722192, 2.921185026}, error);
    expect_close(dx, {0.322547570, -0.085201116, -0.310375739, 0.194745896}, error);
    expect_close(dgain, {0.365148128, 0, -1.095444385, 0.730296256}, error);
    const auto [bare_rstd, bare_y, bare_dx, none] = run(dtype, {}, 0x1p-23);
    expect_close(bare_y, {0.365148369, 0.730296738, 1.095445106, 1.460593475}, error);
    expect_close(bare_dx, {0.365148369, 0, -0.365148369, 0.182574184}, error);
  }
}

TEST_P(NormTest, SameBitsForAnyThreadCount) {
  auto [k, stream] = on(device());
  const Tensor x = Tensor::from(wave(1000 * 70, 0), {1000, 70}, Dtype::f32, device());
  const Tensor dy = Tensor::from(wave(1000 * 70, 1), {1000, 70}, Dtype::f32, device());
  const Tensor gain = make(wave(70, 2), Dtype::f32), bias = make(wave(70, 3), Dtype::f32);
  const Tensor y = Tensor::empty_like(x), dx = Tensor::empty_like(x);
  const Tensor mean = make(Values(1000, 0), Dtype::f32), rstd = make(Values(1000, 0), Dtype::f32);
  const Tensor dgain = Tensor::empty_like(gain), dbias = Tensor::empty_like(gain);
  expect_same_bits_for_any_thread_count([&] {
    k.layer_norm_forward(stream, {x.view(), gain.view(), bias.view(), y.view(), mean.view(), rstd.view()});
    k.layer_norm_backward(
        stream, {dy.view(), x.view(), gain.view(), mean.view(), rstd.view(), dx.view(), dgain.view(), dbias.view()});
    return concatenate({y.to_host(), dx.to_host(), dgain.to_host(), dbias.to_host()});
  });
}

MARA_ON_EVERY_DEVICE(NormTest);

}  // namespace
}  // namespace mara::kernels
