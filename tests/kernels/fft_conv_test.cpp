#include "kernels/fft_conv.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <numeric>

#include "core/parallel.h"
#include "devices.h"
#include "kernels/kernels.h"

namespace mara {
namespace {

using kernels::ConvForm;
using Values = std::vector<double>;

struct Case {
  int64_t channels, batch, length, taps, reverse_taps = 0;  // reverse_taps 0: no k_reverse
  bool gated = false, skip = false;
  ConvForm form = ConvForm::causal;
};

std::string to_string(const Case& c) {
  return (c.form == ConvForm::causal ? "causal" : "circular") + std::string(c.gated ? " gated" : "") +
         (c.skip ? " skip" : "") + " D " + std::to_string(c.channels) + " B " + std::to_string(c.batch) + " L " +
         std::to_string(c.length) + " K " + std::to_string(c.taps) + " reverse " + std::to_string(c.reverse_taps);
}

// Everything that goes into and comes out of a convolution; an empty vector is an absent argument.
struct Data {
  Values u, k, k_reverse, skip, gate_in, gate_out, dy;
  Values y, du, dgate_in, dgate_out, dk, dk_reverse, dskip;
};

// Noise in [-1, 1): results of a convolution with smooth data can be small next to what rounding leaves.
Values noise(int64_t count, uint32_t seed) {
  Values out(static_cast<size_t>(count));
  for (double& value : out) value = static_cast<double>((seed = seed * 1664525u + 1013904223u) >> 8) * 0x1p-23 - 1.0;
  return out;
}

Data inputs(const Case& c) {
  const int64_t rows = c.channels * c.batch * c.length;
  Data data{.u = noise(rows, 1), .k = noise(c.channels * c.taps, 2), .dy = noise(rows, 3)};
  if (c.reverse_taps > 0) data.k_reverse = noise(c.channels * c.reverse_taps, 4);
  if (c.skip) data.skip = noise(c.channels, 5);
  if (c.gated) data.gate_in = noise(rows, 6), data.gate_out = noise(rows, 7);
  return data;
}

// The definition, term by term, and its derivatives.
void direct_sums(const Case& c, Data& data) {
  const int64_t length = c.length;
  const auto ones = [&](const Values& gate) { return gate.empty() ? Values(data.u.size(), 1.0) : gate; };
  const Values gate_in = ones(data.gate_in), gate_out = ones(data.gate_out);
  data.y = data.du = data.dgate_in = data.dgate_out = Values(data.u.size());
  data.dk.assign(data.k.size(), 0), data.dk_reverse.assign(data.k_reverse.size(), 0);
  data.dskip.assign(data.skip.size(), 0);
  for (int64_t d = 0; d < c.channels; ++d) {
    for (int64_t b = 0; b < c.batch; ++b) {
      const int64_t row = (d * c.batch + b) * length;
      Values x(length), g(length), conv(length), dx(length);
      for (int64_t l = 0; l < length; ++l) x[l] = gate_in[row + l] * data.u[row + l];
      for (int64_t l = 0; l < length; ++l) g[l] = gate_out[row + l] * data.dy[row + l];
      const auto filter = [&](const Values& k, Values& dk, int64_t taps, int direction) {
        const int64_t used = c.form == ConvForm::causal ? std::min(taps, length) : taps;
        for (int64_t j = 0; j < used; ++j) {
          const double tap = k[d * taps + j];
          const int64_t shift = c.form == ConvForm::causal ? direction * j : (direction * j % length + length) % length;
          double sum = 0;  // x moves by `shift`, or wraps around to `shift - length`
          const auto add = [&](int64_t by) {
            for (int64_t l = std::max<int64_t>(0, by); l < std::min(length, length + by); ++l) {
              conv[l] += tap * x[l - by], dx[l - by] += tap * g[l], sum += g[l] * x[l - by];
            }
          };
          add(shift);
          if (c.form == ConvForm::circular && shift > 0) add(shift - length);
          dk[d * taps + j] += sum;
        }
      };
      filter(data.k, data.dk, c.taps, 1);
      if (c.reverse_taps > 0) filter(data.k_reverse, data.dk_reverse, c.reverse_taps, -1);
      for (int64_t l = 0; l < length; ++l) {
        if (c.skip) {
          conv[l] += data.skip[d] * x[l], dx[l] += data.skip[d] * g[l];
          data.dskip[d] += g[l] * x[l];
        }
        data.y[row + l] = gate_out[row + l] * conv[l];
        data.du[row + l] = gate_in[row + l] * dx[l];
        data.dgate_in[row + l] = data.u[row + l] * dx[l];
        data.dgate_out[row + l] = data.dy[row + l] * conv[l];
      }
    }
  }
  if (data.gate_in.empty()) data.dgate_in.clear();
  if (data.gate_out.empty()) data.dgate_out.clear();
}

double norm(const Values& x) { return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0)); }
double rms(const Values& x) { return norm(x) / std::sqrt(std::max(1.0, static_cast<double>(x.size()))); }
double distance(const Values& a, const Values& b) { return relative_error(a, b) * (norm(b) > 0 ? norm(b) : 1); }

class FftConvKernel : public OnDevice {
 protected:
  // Runs the kernels on `data`, forward and backward, and rounds its inputs to the dtype.
  void run(const Case& c, Data& data, Dtype dtype) {
    const Shape rows{c.channels, c.batch, c.length};
    const Dtype filters = compute_dtype(dtype);
    const auto in = [&](Values& values, const Shape& shape, Dtype type) {
      if (values.empty()) return Tensor();
      const Tensor tensor = Tensor::from(values, shape, type, device());
      values = tensor.to_host();
      return tensor;
    };
    const auto like = [](const Tensor& tensor) { return tensor.defined() ? Tensor::empty_like(tensor) : Tensor(); };
    const auto out = [](const Tensor& tensor) { return tensor.defined() ? tensor.to_host() : Values(); };
    const Tensor u = in(data.u, rows, dtype), dy = in(data.dy, rows, dtype);
    const Tensor gate_in = in(data.gate_in, rows, dtype), gate_out = in(data.gate_out, rows, dtype);
    const Tensor k = in(data.k, {c.channels, c.taps}, filters), skip = in(data.skip, {c.channels}, filters);
    const Tensor k_reverse = in(data.k_reverse, {c.channels, c.reverse_taps}, filters);
    const Tensor y = like(u), du = like(u), dgate_in = like(gate_in), dgate_out = like(gate_out), dk = like(k),
                 dk_reverse = like(k_reverse), dskip = like(skip);
    const auto [table, stream] = kernels::on(device());
    table.fft_conv_forward(stream, {.u = u.view(),
                                    .k = k.view(),
                                    .k_reverse = k_reverse.view(),
                                    .skip = skip.view(),
                                    .gate_in = gate_in.view(),
                                    .gate_out = gate_out.view(),
                                    .y = y.view(),
                                    .form = c.form});
    table.fft_conv_backward(stream, {.dy = dy.view(),
                                     .u = u.view(),
                                     .k = k.view(),
                                     .k_reverse = k_reverse.view(),
                                     .skip = skip.view(),
                                     .gate_in = gate_in.view(),
                                     .gate_out = gate_out.view(),
                                     .du = du.view(),
                                     .dgate_in = dgate_in.view(),
                                     .dgate_out = dgate_out.view(),
                                     .dk = dk.view(),
                                     .dk_reverse = dk_reverse.view(),
                                     .dskip = dskip.view(),
                                     .form = c.form});
    data.y = out(y), data.du = out(du), data.dgate_in = out(dgate_in), data.dgate_out = out(dgate_out);
    data.dk = out(dk), data.dk_reverse = out(dk_reverse), data.dskip = out(dskip);
  }

  void expect_direct_sums(const Case& c, Dtype dtype) {
    if (dtype == Dtype::f64 && device().type != DeviceType::cpu) return;
    SCOPED_TRACE(to_string(c) + " " + to_string(dtype));
    Data got = inputs(c);
    run(c, got, dtype);
    Data want = got;
    direct_sums(c, want);
    const double rows = dtype == Dtype::f32 && device().type == DeviceType::cpu ? 1e-6 : tolerance(dtype);
    const bool in_fp16 = dtype == Dtype::bf16 && device().type == DeviceType::cuda;  // inside some of the ways it goes
    const double sums = dtype == Dtype::f64 ? tolerance(dtype) : in_fp16 ? 1.2e-3 : 2e-6;  // not rounded to bf16
    EXPECT_LT(relative_error(got.y, want.y), rows);
    EXPECT_LT(relative_error(got.du, want.du), rows);
    EXPECT_LT(relative_error(got.dgate_in, want.dgate_in), rows);
    EXPECT_LT(relative_error(got.dgate_out, want.dgate_out), rows);
    EXPECT_LT(relative_error(got.dk, want.dk), sums);
    EXPECT_LT(relative_error(got.dk_reverse, want.dk_reverse), sums);
    // A sum like each entry of dk, and one per channel: what is small by chance has the error of the others.
    const double typical = rms(want.dk) * std::sqrt(static_cast<double>(c.channels));
    EXPECT_LT(distance(got.dskip, want.dskip), sums * std::max(typical, norm(want.dskip)));
  }

  void expect_near(const Values& got, const Values& want) { EXPECT_LT(relative_error(got, want), 1e-6); }
};

MARA_ON_EVERY_DEVICE(FftConvKernel);

TEST_P(FftConvKernel, SSM_G1) {
  const Case c{.channels = 1, .batch = 1, .length = 4, .taps = 4, .skip = true};
  Data data{.u = {1, 2, 3, 4}, .k = {1, .5, .25, .125}, .skip = {.3}, .dy = {1, -1, .5, 2}};
  run(c, data, Dtype::f32);
  expect_near(data.y, {1.3, 3.1, 5.15, 7.325});
  expect_near(data.du, {1.175, -0.55, 1.65, 2.6});
  expect_near(data.dk, {8.5, 6, 4.5, 2});
  expect_near(data.dskip, {8.5});

  Case circular = c;
  circular.form = ConvForm::circular, circular.skip = false;
  Data wrong{.u = data.u, .k = data.k, .dy = data.dy};
  run(circular, wrong, Dtype::f32);
  expect_near(wrong.y, {4, 3.875, 4.75, 6.125});
}

// The S4 style takes no lag 0 from the reverse filter: its taps move by one before they reach the kernel.
TEST_P(FftConvKernel, SSM_G10_bidirectional) {
  const Case c{.channels = 1, .batch = 1, .length = 4, .taps = 4, .reverse_taps = 4};
  Data conjugate{.u = {1, 0, 0, 2}, .k = {1, .5, .25, .125}, .k_reverse = {.1, .2, .3, .4}, .dy = {1, 1, 1, 1}};
  Data shifted = conjugate;
  run(c, conjugate, Dtype::f32);
  expect_near(conjugate.y, {1.9, 1.1, .65, 2.325});
  shifted.k_reverse = {0, .1, .2, .3};
  run(c, shifted, Dtype::f32);
  expect_near(shifted.y, {1.6, .9, .45, 2.125});
}

TEST_P(FftConvKernel, Monarch_20_6) {
  const Case c{.channels = 1, .batch = 1, .length = 4, .taps = 4, .reverse_taps = 5, .skip = true};
  Data data{
      .u = {1, 2, 3, 4}, .k = {1, .5, .25, .125}, .k_reverse = {0, .1, .2, .3, .4}, .skip = {.5}, .dy = {1, -1, 2, .5}};
  Data conjugate = data;
  run(c, data, Dtype::f32);
  expect_near(data.y, {3.5, 4.6, 6.15, 8.125});
  expect_near(data.du, {1.5625, -0.275, 3.35, 1.05});
  expect_near(data.dskip, {7});
  expect_near(data.dk, {7, 4.5, 3, 0.5});
  expect_near(data.dk_reverse, {7, 7, -1, 4, 0});  // dkr = [7, -1, 4, 0] after the shift, tap 4 is beyond L

  Case plain = c;
  plain.reverse_taps = 4;
  conjugate.k_reverse = {.1, .2, .3, .4};
  run(plain, conjugate, Dtype::f32);
  expect_near(conjugate.y, {4.5, 5.5, 6.85, 8.525});
}

TEST_P(FftConvKernel, EqualsDirectSum) {
  for (int64_t length : {1, 2, 3, 15, 16, 17, 33, 70, 130, 255, 256, 257}) {
    for (int64_t taps : {length, (length + 2) / 3, 2 * length + 3}) {
      for (ConvForm form : {ConvForm::causal, ConvForm::circular}) {
        for (int64_t reverse_taps : {int64_t{0}, (taps + 1) / 2}) {
          expect_direct_sums({2, 3, length, taps, reverse_taps, true, true, form}, Dtype::f64);
          expect_direct_sums({1, 2, length, taps, reverse_taps, false, false, form}, Dtype::f64);
        }
      }
    }
    expect_direct_sums({3, 5, length, length, 0, true, false}, Dtype::f32);
    expect_direct_sums({1, 9, length, length, 0, true, true}, Dtype::f64);
    expect_direct_sums({1, 9, length, length, 3, true, false, ConvForm::circular}, Dtype::f64);
    expect_direct_sums({2, 35, length, length, 2, false, true}, Dtype::f32);
    expect_direct_sums({2, 3, length, length, 0, true, true}, Dtype::bf16);
  }
}

TEST_P(FftConvKernel, EqualsDirectSumOfLongRows) {
  for (int64_t length : {1000, 1023, 1024, 1025, 1600, 4097}) {
    for (Dtype dtype : {Dtype::f64, Dtype::f32}) {
      expect_direct_sums({1, 2, length, length, 0, true, true}, dtype);
      expect_direct_sums({1, 1, length, length + 9, length / 2, false, true, ConvForm::circular}, dtype);
    }
    expect_direct_sums({2, 1, length, 100, 70, false, false}, Dtype::f32);
    expect_direct_sums({1, 1, length, length, 0, true, false}, Dtype::bf16);
  }
  expect_direct_sums({1, 1, 33000, 40, 0, true, true}, Dtype::f64);  // a few taps keep the reference cheap
  expect_direct_sums({1, 2, 66000, 70, 0, false, false}, Dtype::f32);
  expect_direct_sums({5, 1, 500000, 20, 0, false, true}, Dtype::f32);  // a GPU takes this in several parts
}

TEST_P(FftConvKernel, EqualsDirectSumOfManyRows) {
  for (Dtype dtype : {Dtype::f32, Dtype::bf16}) expect_direct_sums({2, 300, 40, 40, 0, true, true}, dtype);
}

// What the comparisons above would not forgive.
TEST_P(FftConvKernel, MistakesAreSeen) {
  const Case c{.channels = 1, .batch = 1, .length = 300, .taps = 300};
  Data got = inputs(c), want = got;
  want.k[150] += 1e-4;
  run(c, got, Dtype::f32);
  direct_sums(c, want);
  EXPECT_GT(relative_error(got.y, want.y), 1e-6);
  Case circular = c;
  circular.form = ConvForm::circular;
  want = inputs(c);
  direct_sums(circular, want);
  EXPECT_GT(relative_error(got.y, want.y), 1e-2);
  EXPECT_GT(relative_error(got.dk, want.dk), 1e-2);
}

TEST_P(FftConvKernel, LongRowsHoldAnImpulse) {
  const int64_t length = 200000;
  Values u(length), k(length);
  u[5] = 2, k[3] = 0.5, k[length - 6] = -1;
  Data data{.u = u, .k = k, .dy = u};
  run({1, 1, length, length}, data, Dtype::f32);
  Values want(length), dk(length);
  want[8] = 1, want[length - 1] = -2, dk[0] = 4;
  EXPECT_LT(relative_error(data.y, want), 1e-6);
  EXPECT_LT(relative_error(data.dk, dk), 1e-6);
}

TEST_P(FftConvKernel, BitsDoNotDependOnThreads) {
  if (device().type != DeviceType::cpu) GTEST_SKIP();
  const int threads = thread_count();
  for (int64_t length : {9, 22, 60, 100, 1000}) {
    const Case c{7, 6, length, length, 3, true, true};
    Data one = inputs(c), two = one;
    set_thread_count(1);
    run(c, one, Dtype::f32);
    set_thread_count(2);
    run(c, two, Dtype::f32);
    set_thread_count(threads);
    EXPECT_EQ(one.y, two.y);
    EXPECT_EQ(one.du, two.du);
    EXPECT_EQ(one.dgate_in, two.dgate_in);
    EXPECT_EQ(one.dgate_out, two.dgate_out);
    EXPECT_EQ(one.dk, two.dk);
    EXPECT_EQ(one.dk_reverse, two.dk_reverse);
    EXPECT_EQ(one.dskip, two.dskip);
  }
}

// A row that is not finite spoils its own results and its channel's sums, nothing else.
TEST_P(FftConvKernel, NotANumberStaysInItsRow) {
  for (int64_t length : {9, 22, 60, 300, 1100}) {
    const Case c{.channels = 2, .batch = 3, .length = length, .taps = length};
    Data data = inputs(c);
    const int64_t bad = 1;
    data.u[bad * length + length / 2] = std::numeric_limits<double>::quiet_NaN();
    run(c, data, Dtype::f32);
    const auto finite = [](const Values& values, int64_t begin, int64_t end) {
      return std::all_of(values.begin() + begin, values.begin() + end, [](double v) { return std::isfinite(v); });
    };
    EXPECT_FALSE(finite(data.y, bad * length, (bad + 1) * length));
    EXPECT_TRUE(finite(data.y, 0, bad * length));
    EXPECT_TRUE(finite(data.y, (bad + 1) * length, 6 * length));
    EXPECT_TRUE(finite(data.du, 0, 6 * length));
    EXPECT_FALSE(finite(data.dk, 0, length));
    EXPECT_TRUE(finite(data.dk, length, 2 * length));
  }
}

// u, its gates and their gradients as parts of one (B, 3, D, L + gap) tensor each.
TEST_P(FftConvKernel, TakesStridedRows) {
  const auto [table, stream] = kernels::on(device());
  for (int64_t length : {5, 22, 61, 300}) {
    const Case c{3, 2, length, length, 0, true, true};
    Data want = inputs(c);
    run(c, want, Dtype::f32);
    const int64_t gap = 3, pitch = length + gap, part = c.channels * pitch;
    Values packed(c.batch * 3 * part, -7.0);
    const auto for_each = [&](int which, const std::function<void(int64_t, int64_t)>& body) {
      for (int64_t d = 0; d < c.channels; ++d) {
        for (int64_t b = 0; b < c.batch; ++b) {
          for (int64_t l = 0; l < length; ++l) {
            body((d * c.batch + b) * length + l, (b * 3 + which) * part + d * pitch + l);
          }
        }
      }
    };
    const Values* const sources[] = {&want.u, &want.gate_in, &want.gate_out};
    for (int which = 0; which < 3; ++which) {
      for_each(which, [&](int64_t row, int64_t place) { packed[place] = (*sources[which])[row]; });
    }
    const Shape all{c.batch, 3, c.channels, pitch}, rows{c.channels, c.batch, length};
    const Tensor in = Tensor::from(packed, all, Dtype::f32, device());
    const Tensor out = Tensor::from(Values(packed.size(), -7.0), all, Dtype::f32, device());
    const auto pick = [&](const Tensor& from, int which) {
      return from.strided(rows, {pitch, 3 * part, 1}, which * part).view();
    };
    const Tensor k = Tensor::from(want.k, {c.channels, c.taps}, Dtype::f32, device());
    const Tensor skip = Tensor::from(want.skip, {c.channels}, Dtype::f32, device());
    const Tensor dy = Tensor::from(want.dy, rows, Dtype::f32, device());
    const auto expect = [&](int which, const Values& values) {
      const Values result = out.to_host();
      for_each(which, [&](int64_t row, int64_t place) { ASSERT_EQ(result[place], values[row]) << "L " << length; });
      EXPECT_EQ(result[length], -7.0);  // in the gap
    };
    table.fft_conv_forward(stream, {.u = pick(in, 0),
                                    .k = k.view(),
                                    .skip = skip.view(),
                                    .gate_in = pick(in, 1),
                                    .gate_out = pick(in, 2),
                                    .y = pick(out, 0)});
    expect(0, want.y);
    table.fft_conv_backward(stream, {.dy = dy.view(),
                                     .u = pick(in, 0),
                                     .k = k.view(),
                                     .skip = skip.view(),
                                     .gate_in = pick(in, 1),
                                     .gate_out = pick(in, 2),
                                     .du = pick(out, 0),
                                     .dgate_in = pick(out, 1),
                                     .dgate_out = pick(out, 2)});
    expect(0, want.du);
    expect(1, want.dgate_in);
    expect(2, want.dgate_out);
  }
}

// Any output can be left out, and sums can be added to what is there.
TEST_P(FftConvKernel, OutputsAreIndependent) {
  const auto [table, stream] = kernels::on(device());
  for (int64_t length : {22, 61, 600}) {
    const Case c{2, 3, length, length, 5, true, true};
    Data want = inputs(c);
    run(c, want, Dtype::f32);
    const Shape rows{c.channels, c.batch, length};
    const auto in = [&](const Values& v, const Shape& s) { return Tensor::from(v, s, Dtype::f32, device()); };
    const Tensor dy = in(want.dy, rows), u = in(want.u, rows), gate_in = in(want.gate_in, rows);
    const Tensor gate_out = in(want.gate_out, rows), k = in(want.k, {2, length});
    const Tensor k_reverse = in(want.k_reverse, {2, 5}), skip = in(want.skip, {2});
    const kernels::FftConvBackward bare{.dy = dy.view(),
                                        .u = u.view(),
                                        .k = k.view(),
                                        .k_reverse = k_reverse.view(),
                                        .skip = skip.view(),
                                        .gate_in = gate_in.view(),
                                        .gate_out = gate_out.view()};
    const auto expect_alone = [&](View kernels::FftConvBackward::*slot, const Tensor& like, const Values& values) {
      const Tensor out = Tensor::empty_like(like);
      kernels::FftConvBackward args = bare;
      args.*slot = out.view();
      table.fft_conv_backward(stream, args);
      expect_near(out.to_host(), values);
    };
    expect_alone(&kernels::FftConvBackward::du, u, want.du);
    expect_alone(&kernels::FftConvBackward::dgate_in, u, want.dgate_in);
    expect_alone(&kernels::FftConvBackward::dgate_out, u, want.dgate_out);
    expect_alone(&kernels::FftConvBackward::dk, k, want.dk);
    expect_alone(&kernels::FftConvBackward::dk_reverse, k_reverse, want.dk_reverse);
    expect_alone(&kernels::FftConvBackward::dskip, skip, want.dskip);

    const Tensor dk = in(Values(2 * length, 1.5), {2, length}), dk_reverse = in(Values(10, 2.5), {2, 5});
    const Tensor dskip = in({3.5, -3.5}, {2});
    kernels::FftConvBackward args = bare;
    args.dk = dk.view(), args.dk_reverse = dk_reverse.view(), args.dskip = dskip.view();
    args.accumulate_k = args.accumulate_k_reverse = args.accumulate_skip = true;
    table.fft_conv_backward(stream, args);
    for (double& v : want.dk) v += 1.5;
    for (double& v : want.dk_reverse) v += 2.5;
    want.dskip[0] += 3.5, want.dskip[1] -= 3.5;
    expect_near(dk.to_host(), want.dk);
    expect_near(dk_reverse.to_host(), want.dk_reverse);
    expect_near(dskip.to_host(), want.dskip);
  }
}

}  // namespace
}  // namespace mara
