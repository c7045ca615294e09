#include "kernels/ssm_scan.h"

#include <gtest/gtest.h>

#include <complex>

#include "core/parallel.h"
#include "devices.h"
#include "kernels/compare.h"
#include "kernels/kernels.h"

namespace mara {
namespace {

using Values = std::vector<double>;
using Z = std::complex<double>;

struct Case {
  int64_t channels, batch, modes, length;
  bool rank_one = false;
};

std::string to_string(const Case& c) {
  return detail::join({"H ", c.channels, " B ", c.batch, " M ", c.modes, " T ", c.length, c.rank_one ? " rank 1" : ""});
}

/// Empty q and r for diagonal systems.
struct Data {
  Values lambda, b, c, q, r, u, state, y;
};

Data inputs(const Case& c) {
  const int64_t numbers = 2 * c.channels * c.modes, rows = c.channels * c.batch;
  Data data{.lambda = Values(numbers),
            .b = wave(numbers, 0.1),
            .c = wave(numbers, 0.2),
            .u = wave(rows * c.length, 0.5),
            .state = wave(2 * rows * c.modes, 0.6)};
  for (int64_t i = 0; i < numbers / 2; ++i) {  // sizes from 0.9 on, as of filters with a long memory
    const Z value = std::polar(0.9 + 0.099 * std::sin(0.3 * static_cast<double>(i)), 0.4 * static_cast<double>(i));
    data.lambda[2 * i] = value.real(), data.lambda[2 * i + 1] = value.imag();
  }
  if (c.rank_one) {  // so small that the system decays
    data.q = wave(numbers, 0.3, 0.2 / static_cast<double>(c.modes));
    data.r = wave(numbers, 0.4, 0.5);
  }
  return data;
}

void definition(const Case& c, Data& data) {
  data.y.assign(data.u.size(), 0);
  const auto at = [](const Values& x, int64_t i) { return Z(x[2 * i], x[2 * i + 1]); };
  for (int64_t row = 0; row < c.channels * c.batch; ++row) {
    const int64_t first = row / c.batch * c.modes;
    std::vector<Z> x(c.modes);
    for (int64_t n = 0; n < c.modes; ++n) x[n] = at(data.state, row * c.modes + n);
    for (int64_t t = 0; t < c.length; ++t) {
      const double u = data.u[row * c.length + t];
      double feedback = 0, y = 0;
      for (int64_t n = 0; c.rank_one && n < c.modes; ++n) feedback += 2 * (at(data.r, first + n) * x[n]).real();
      for (int64_t n = 0; n < c.modes; ++n) {
        x[n] = at(data.lambda, first + n) * x[n] + u * at(data.b, first + n);
        if (c.rank_one) x[n] -= feedback * at(data.q, first + n);
        y += 2 * (at(data.c, first + n) * x[n]).real();
      }
      data.y[row * c.length + t] = y;
    }
    for (int64_t n = 0; n < c.modes; ++n) {
      data.state[2 * (row * c.modes + n)] = x[n].real(), data.state[2 * (row * c.modes + n) + 1] = x[n].imag();
    }
  }
}

class SsmScanKernel : public OnDevice {
 protected:
  // Positions in pieces of `piece`; inputs are left as the dtype rounds them. u and y are parts of a wider tensor.
  void run(const Case& c, Data& data, Dtype dtype, int64_t piece) {
    const Dtype wide = compute_dtype(dtype);
    const Shape parameters{c.channels, c.modes, 2}, rows{c.channels, c.batch, c.length};
    const auto in = [&](Values& values, const Shape& shape, Dtype type) {
      if (values.empty()) return Tensor();
      const Tensor tensor = Tensor::from(values, shape, type, device());
      values = tensor.to_host();
      return tensor;
    };
    const Tensor lambda = in(data.lambda, parameters, wide), b = in(data.b, parameters, wide),
                 cs = in(data.c, parameters, wide), q = in(data.q, parameters, wide), r = in(data.r, parameters, wide);
    const Tensor state = in(data.state, {c.channels, c.batch, c.modes, 2}, wide);
    const Tensor u = in(data.u, rows, dtype), y = Tensor::empty_like(u);
    const auto [table, stream] = kernels::on(device());
    for (int64_t t = 0; t < c.length; t += piece) {
      const auto part = [&](const Tensor& x) {
        return x.strided({c.channels, c.batch, std::min(piece, c.length - t)}, {c.batch * c.length, c.length, 1}, t)
            .view();
      };
      table.ssm_scan(stream, {.lambda = lambda.view(),
                              .b = b.view(),
                              .c = cs.view(),
                              .q = q.view(),
                              .r = r.view(),
                              .u = part(u),
                              .state = state.view(),
                              .y = part(y)});
    }
    data.y = y.to_host(), data.state = state.to_host();
  }

  void expect_definition(const Case& c, int64_t piece) {
    for (const Dtype dtype : floating_dtypes(device())) {
      SCOPED_TRACE(to_string(c) + " in pieces of " + std::to_string(piece) + " " + to_string(dtype));
      Data got = inputs(c), want = got;
      run(c, got, dtype, piece);
      const Values y = got.y, state = got.state;
      want = got, want.state = inputs(c).state;
      if (dtype != Dtype::f64) {
        for (double& v : want.state) v = static_cast<float>(v);
      }
      definition(c, want);
      EXPECT_LT(relative_error(y, want.y), tolerance(dtype));
      EXPECT_LT(relative_error(state, want.state), dtype == Dtype::f64 ? tolerance(dtype) : tolerance(Dtype::f32));
    }
  }
};

MARA_ON_EVERY_DEVICE(SsmScanKernel);

TEST_P(SsmScanKernel, EqualsDefinition) {
  for (const bool rank_one : {false, true}) {
    for (const int64_t modes : {1, 2, 31, 32, 33, 65, 130}) {
      for (const int64_t length : {1, 7, 32, 100}) expect_definition({3, 2, modes, length, rank_one}, length);
    }
    expect_definition({1, 1, 32, 1000, rank_one}, 1000);
    expect_definition({5, 7, 4, 33, rank_one}, 33);
  }
}

TEST_P(SsmScanKernel, PiecesContinueEachOther) {
  for (const bool rank_one : {false, true}) {
    for (const int64_t piece : {1, 5, 32, 40}) expect_definition({2, 3, 33, 100, rank_one}, piece);
  }
}

// What the comparisons above would not forgive.
TEST_P(SsmScanKernel, MistakesAreSeen) {
  const Case c{1, 1, 32, 100, true};
  Data got = inputs(c), want = inputs(c);
  run(c, got, Dtype::f32, 100);
  want.q[3] += 0.01;
  definition(c, want);
  EXPECT_GT(relative_error(got.y, want.y), tolerance(Dtype::f32));
}

// With b = q = 0 a state is turned and shrunk: 2 Re c lambda^(t+1) x.
TEST_P(SsmScanKernel, StateDecays) {
  const Case c{1, 1, 1, 40};
  Data data = inputs(c);
  data.lambda = {0, 0.5}, data.b = {0, 0}, data.c = {1, 0}, data.state = {1, 0};
  run(c, data, widest(device()), 40);
  for (int64_t t = 0; t < c.length; ++t) {
    const double size = 2 * std::pow(0.5, static_cast<double>(t + 1));
    EXPECT_EQ(data.y[t], t % 2 == 0 ? 0 : (t % 4 == 1 ? -size : size)) << t;
  }
}

TEST_P(SsmScanKernel, BitsDoNotDependOnThreads) {
  if (device().type != DeviceType::cpu) GTEST_SKIP();
  const int threads = thread_count();
  for (const bool rank_one : {false, true}) {
    const Case c{9, 3, 32, 200, rank_one};
    Data one = inputs(c), two = one;
    set_thread_count(1);
    run(c, one, Dtype::f32, 200);
    set_thread_count(2);
    run(c, two, Dtype::f32, 200);
    set_thread_count(threads);
    EXPECT_EQ(one.y, two.y);
    EXPECT_EQ(one.state, two.state);
  }
}

}  // namespace
}  // namespace mara
