#include "kernels/short_conv.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/parallel.h"
#include "devices.h"
#include "kernels/kernels.h"

namespace mara {
namespace {

using Values = std::vector<double>;

struct Data {
  Values u, weight, bias, dy, input_bias;
  Values y, du, dweight, dbias, dinput_bias;
};

class ShortConvKernel : public OnDevice {
 protected:
  Tensor in(Values& values, const Shape& shape, Dtype dtype) {
    if (values.empty()) return {};
    const Tensor tensor = Tensor::from(values, shape, dtype, device());
    values = tensor.to_host();
    return tensor;
  }

  // Runs both kernels; `data` keeps its inputs as the dtype rounds them. Sums are added to `before`.
  void run(const Shape& rows, Data& data, Dtype dtype, double before = 0) {
    const Dtype sums = compute_dtype(dtype);
    const int64_t taps = static_cast<int64_t>(data.weight.size()) / rows[0];
    const Tensor u = in(data.u, rows, dtype), dy = in(data.dy, rows, dtype);
    const Tensor weight = in(data.weight, {rows[0], taps}, sums), bias = in(data.bias, {rows[0]}, sums);
    const Tensor input_bias = in(data.input_bias, {rows[0]}, sums);
    const Tensor y = Tensor::empty_like(u), du = Tensor::empty_like(u);
    const Tensor dweight = Tensor::from(Values(data.weight.size(), before), {rows[0], taps}, sums, device());
    const Tensor dbias = Tensor::from(Values(rows[0], before), {rows[0]}, sums, device());
    const Tensor dinput_bias = Tensor::from(Values(rows[0], before), {rows[0]}, sums, device());
    const auto [table, stream] = kernels::on(device());
    table.short_conv_forward(
        stream,
        {.u = u.view(), .weight = weight.view(), .bias = bias.view(), .y = y.view(), .input_bias = input_bias.view()});
    table.short_conv_backward(stream, {.dy = dy.view(),
                                       .u = u.view(),
                                       .weight = weight.view(),
                                       .du = du.view(),
                                       .dweight = dweight.view(),
                                       .dbias = dbias.view(),
                                       .accumulate_weight = before != 0,
                                       .accumulate_bias = before != 0,
                                       .input_bias = input_bias.view(),
                                       .dinput_bias = dinput_bias.view(),
                                       .accumulate_input_bias = before != 0});
    data.y = y.to_host(), data.du = du.to_host(), data.dweight = dweight.to_host(), data.dbias = dbias.to_host();
    data.dinput_bias = dinput_bias.to_host();
  }

  static Data inputs(const Shape& rows, int64_t taps) {
    return {.u = wave(rows.numel(), 0.1),
            .weight = wave(rows[0] * taps, 1.1),
            .bias = wave(rows[0], 2.1),
            .dy = wave(rows.numel(), 3.1),
            .input_bias = wave(rows[0], 4.1)};
  }

  static void definition(const Shape& rows, Data& data) {
    const int64_t batch = rows[1], length = rows[2], taps = static_cast<int64_t>(data.weight.size()) / rows[0];
    data.y.assign(rows.numel(), 0), data.du.assign(rows.numel(), 0);
    data.dweight.assign(data.weight.size(), 0), data.dbias.assign(rows[0], 0);
    data.dinput_bias.assign(rows[0], 0);
    for (int64_t i = 0; i < rows.numel(); ++i) {
      const int64_t l = i % length, d = i / length / batch;
      data.y[i] = data.bias.empty() ? 0 : data.bias[d];
      data.dbias[d] += data.dy[i];
      for (int64_t lag = 0; lag < taps && lag <= l; ++lag) {
        const int64_t tap = d * taps + taps - 1 - lag;
        const double u = data.u[i - lag] + (data.input_bias.empty() ? 0 : data.input_bias[d]);
        data.y[i] += data.weight[tap] * u;
        data.du[i - lag] += data.weight[tap] * data.dy[i];
        data.dweight[tap] += data.dy[i] * u;
        data.dinput_bias[d] += data.weight[tap] * data.dy[i];
      }
    }
  }
};

MARA_ON_EVERY_DEVICE(ShortConvKernel);

TEST_P(ShortConvKernel, SSM_G2) {
  Data data{.u = {1, 2, 3, 4, 5}, .weight = {.1, .2, .7}, .bias = {.05}, .dy = {1, -1, .5, 2, 1}};
  run({1, 1, 5}, data, Dtype::f32);
  EXPECT_LT(relative_error(data.y, {.75, 1.65, 2.65, 3.65, 4.65}), 1e-6);
  EXPECT_LT(relative_error(data.du, {.55, -.4, .85, 1.6, .7}), 1e-6);
  EXPECT_LT(relative_error(data.dweight, {7.5, 10, 13.5}), 1e-6);
  EXPECT_LT(relative_error(data.dbias, {3.5}), 1e-6);
}

TEST_P(ShortConvKernel, EqualsDefinition) {
  for (int64_t taps : {1, 2, 3, 4, 5, 7, 16, 33, 64}) {
    for (int64_t length : {1, 2, 5, 15, 16, 17, 64, 67, 129, 300}) {
      for (Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
        if (dtype == Dtype::f64 && device().type != DeviceType::cpu) continue;
        const Shape rows{2, 3, length};
        Data got = inputs(rows, taps);
        if (taps == 7) got.bias.clear();
        if (taps == 2 || taps == 7 || taps == 33) got.input_bias.clear();
        run(rows, got, dtype);
        Data want = got;
        definition(rows, want);
        SCOPED_TRACE(std::to_string(taps) + " taps, length " + std::to_string(length) + ", " + to_string(dtype));
        const double sums = dtype == Dtype::f64 ? tolerance(dtype) : 1e-5;
        EXPECT_LT(relative_error(got.y, want.y), tolerance(dtype));
        EXPECT_LT(relative_error(got.du, want.du), tolerance(dtype));
        EXPECT_LT(relative_error(got.dweight, want.dweight), sums);
        EXPECT_LT(relative_error(got.dbias, want.dbias), sums);
        EXPECT_LT(relative_error(got.dinput_bias, want.dinput_bias), sums);
        want.weight[0] += 1e-2;
        definition(rows, want);
        if (length >= taps) {
          EXPECT_GT(relative_error(got.du, want.du), tolerance(Dtype::f32));
        }
      }
    }
  }
}

// Sums over more than one block of a GPU makes.
TEST_P(ShortConvKernel, EqualsDefinitionForLongRows) {
  const Shape rows{2, 3, 6000};
  for (int64_t taps : {3, 20}) {
    for (Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      Data got = inputs(rows, taps);
      for (double& v : got.dy) v += 1;  // sums of waves cancel
      for (double& v : got.u) v += 1;
      run(rows, got, dtype);
      Data want = got;
      definition(rows, want);
      EXPECT_LT(relative_error(got.y, want.y), tolerance(dtype));
      EXPECT_LT(relative_error(got.du, want.du), tolerance(dtype));
      EXPECT_LT(relative_error(got.dweight, want.dweight), 1e-5);
      EXPECT_LT(relative_error(got.dbias, want.dbias), 1e-5);
      EXPECT_LT(relative_error(got.dinput_bias, want.dinput_bias), 1e-5);
    }
  }
}

TEST_P(ShortConvKernel, AddsToSums) {
  const Shape rows{2, 2, 40};
  for (int64_t taps : {3, 6}) {
    Data got = inputs(rows, taps);
    run(rows, got, Dtype::f32, 1.5);
    Data want = got;
    definition(rows, want);
    for (double& v : want.dweight) v += 1.5;
    for (double& v : want.dbias) v += 1.5;
    for (double& v : want.dinput_bias) v += 1.5;
    EXPECT_LT(relative_error(got.dweight, want.dweight), 1e-5);
    EXPECT_LT(relative_error(got.dbias, want.dbias), 1e-5);
    EXPECT_LT(relative_error(got.dinput_bias, want.dinput_bias), 1e-5);
  }
}

// Whatever else is wanted, and without an input bias, the sums are the same.
TEST_P(ShortConvKernel, AbsentOutputsAreNotMissed) {
  const Shape rows{2, 3, 40};
  for (int64_t taps : {3, 20}) {
    Data data = inputs(rows, taps);
    const Tensor u = in(data.u, rows, Dtype::f32), dy = in(data.dy, rows, Dtype::f32);
    const Tensor weight = in(data.weight, {rows[0], taps}, Dtype::f32);
    const Tensor all[] = {Tensor::empty_like(u), Tensor::empty_like(weight), Tensor::empty({2}, Dtype::f32, device()),
                          Tensor::empty({2}, Dtype::f32, device())};
    const auto run_for = [&](const Tensor& du, const Tensor& dweight, const Tensor& dbias, const Tensor& dinput_bias) {
      const auto [table, stream] = kernels::on(device());
      table.short_conv_backward(stream, {.dy = dy.view(),
                                         .u = u.view(),
                                         .weight = weight.view(),
                                         .du = du.view(),
                                         .dweight = dweight.view(),
                                         .dbias = dbias.view(),
                                         .dinput_bias = dinput_bias.view()});
    };
    run_for(all[0], all[1], all[2], all[3]);
    for (size_t i = 0; i < std::size(all); ++i) {
      const Tensor alone = Tensor::empty_like(all[i]);
      const auto pick = [&](size_t which) { return which == i ? alone : Tensor(); };
      run_for(pick(0), pick(1), pick(2), pick(3));
      EXPECT_EQ(alone.to_host(), all[i].to_host()) << taps << " taps, output " << i;
    }
  }
}

// u and y as parts of a (B, 2, D, L + 1) tensor.
TEST_P(ShortConvKernel, TakesStridedRows) {
  const int64_t channels = 3, batch = 2, length = 21, pitch = length + 1;
  for (int64_t taps : {3, 5}) {
    Data want = inputs({channels, batch, length}, taps);
    want.input_bias.clear();
    run({channels, batch, length}, want, Dtype::f32);
    const auto place = [&](int64_t i, int which) {
      const int64_t l = i % length, b = i / length % batch, d = i / length / batch;
      return ((b * 2 + which) * channels + d) * pitch + l;
    };
    Values packed(batch * 2 * channels * pitch, -7.0);
    for (size_t i = 0; i < want.u.size(); ++i) packed[place(static_cast<int64_t>(i), 1)] = want.u[i];
    const Tensor all = Tensor::from(packed, {batch, 2, channels, pitch}, Dtype::f32, device());
    const auto part = [&](int which) {
      return all.strided({channels, batch, length}, {pitch, 2 * channels * pitch, 1}, which * channels * pitch).view();
    };
    const Tensor weight = Tensor::from(want.weight, {channels, taps}, Dtype::f32, device());
    const Tensor bias = Tensor::from(want.bias, {channels}, Dtype::f32, device());
    const auto [table, stream] = kernels::on(device());
    table.short_conv_forward(stream, {.u = part(1), .weight = weight.view(), .bias = bias.view(), .y = part(0)});
    const Values result = all.to_host();
    for (size_t i = 0; i < want.y.size(); ++i) ASSERT_EQ(result[place(static_cast<int64_t>(i), 0)], want.y[i]);
    EXPECT_EQ(result[length], -7.0);
  }
}

TEST_P(ShortConvKernel, BitsDoNotDependOnThreads) {
  if (device().type != DeviceType::cpu) GTEST_SKIP();
  const Shape rows{5, 3, 6000};
  const int threads = thread_count();
  for (int64_t taps : {3, 5}) {
    Data one = inputs(rows, taps), two = one;
    set_thread_count(1);
    run(rows, one, Dtype::f32);
    set_thread_count(2);
    run(rows, two, Dtype::f32);
    set_thread_count(threads);
    EXPECT_EQ(one.y, two.y);
    EXPECT_EQ(one.du, two.du);
    EXPECT_EQ(one.dweight, two.dweight);
    EXPECT_EQ(one.dbias, two.dbias);
    EXPECT_EQ(one.dinput_bias, two.dinput_bias);
  }
}

// Causal bit for bit: what is not yet known, even if it is no number, changes nothing before it.
TEST_P(ShortConvKernel, FutureChangesNothing) {
  const Shape rows{1, 1, 100};
  for (int64_t taps : {3, 9}) {
    Data data = inputs(rows, taps), spoilt = data;
    spoilt.u[50] = std::numeric_limits<double>::quiet_NaN();
    run(rows, data, Dtype::f32);
    run(rows, spoilt, Dtype::f32);
    for (int64_t l = 0; l < 100; ++l) {
      const bool reached = l >= 50 && l < 50 + taps;
      EXPECT_EQ(std::isnan(spoilt.y[l]), reached);
      if (!reached) {
        EXPECT_EQ(spoilt.y[l], data.y[l]);
      }
    }
  }
}

}  // namespace
}  // namespace mara
