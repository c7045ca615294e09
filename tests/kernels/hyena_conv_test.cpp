// The Hyena operator against its definition, and bf16 rows at the lengths that a GPU takes in one kernel, with fp16
// inside, and at their neighbours, against f64.

#include "kernels/hyena_conv.h"

#include <numeric>

#include "devices.h"
#include "fft_conv_rows.h"
#include "kernels/kernels.h"

namespace mara {
namespace {

struct Case {
  int64_t channels, batch, length, taps = 3, filter = 0;  // filter 0: as many taps as the length
  double size = 1, offset = 0, dy_size = 1;
  bool biases = true, skip = true;
  int64_t gap = 0;          // elements between rows, which then are parts of one (B, 3 D, L + gap) tensor
  bool accumulate = false;  // gradients of parameters, to 1.5

  int64_t filter_taps() const { return filter > 0 ? filter : length; }
  int64_t rows() const { return channels * batch; }
};

std::string to_string(const Case& c) {
  return detail::join({"D ",
                       c.channels,
                       " B ",
                       c.batch,
                       " L ",
                       c.length,
                       " taps ",
                       c.taps,
                       " K ",
                       c.filter_taps(),
                       " z ",
                       c.offset,
                       " +- ",
                       c.size,
                       " dy ",
                       c.dy_size,
                       c.biases ? " biases" : "",
                       c.skip ? " skip" : "",
                       " gap ",
                       c.gap,
                       c.accumulate ? " accumulate" : ""});
}

// Rows channel-major. Empty where there is none.
struct Data {
  Values z, dy, short_weight, short_bias, input_bias, k, skip;
};
struct Results {
  Values y, dz, dshort_weight, dshort_bias, dinput_bias, dk, dskip;
};

Data make_data(const Case& c) {
  const int64_t projected = 3 * c.channels;
  const double bias = c.size / 2;
  return {.z = noise(3 * c.rows() * c.length, 1, c.size, c.offset, Dtype::bf16),
          .dy = noise(c.rows() * c.length, 2, c.dy_size, 0, Dtype::bf16),
          .short_weight = noise(projected * c.taps, 3, 1, 0, Dtype::f32),
          .short_bias = noise(c.biases ? projected : 0, 4, bias, 0, Dtype::f32),
          .input_bias = noise(c.biases ? projected : 0, 5, bias, 0, Dtype::f32),
          .k = decaying(c.channels, c.filter_taps(), 6),
          .skip = noise(c.skip ? c.channels : 0, 7, 1, 0, Dtype::f32)};
}

// Runs both directions in a dtype.
Results run(const Case& c, const Data& data, Dtype dtype, Device device, bool composed = false) {
  const Dtype wide = compute_dtype(dtype);
  const int64_t projected = 3 * c.channels, pitch = c.length + c.gap;
  const auto index = [&](int64_t d, int64_t b) {
    return c.gap == 0 ? (d * c.batch + b) * c.length : (b * projected + d) * pitch;
  };
  const auto view = [&](const Tensor& all, int64_t channels) {
    const Shape shape{channels, c.batch, c.length};
    return c.gap == 0 ? all.strided(shape, {c.batch * c.length, c.length, 1}, 0).view()
                      : all.strided(shape, {pitch, projected * pitch, 1}, 0).view();
  };
  const auto pack = [&](const Values& values) {
    Values packed(static_cast<size_t>(c.batch * projected * pitch), std::numeric_limits<double>::quiet_NaN());
    for (int64_t row = 0; row < std::ssize(values) / c.length; ++row) {
      std::copy_n(values.begin() + row * c.length, c.length, packed.begin() + index(row / c.batch, row % c.batch));
    }
    return Tensor::from(packed, {std::ssize(packed)}, dtype, device);
  };
  const auto unpack = [&](const Tensor& all, int64_t channels) {
    const Values packed = all.to_host();
    Values values;
    for (int64_t row = 0; row < channels * c.batch; ++row) {
      const auto from = packed.begin() + index(row / c.batch, row % c.batch);
      values.insert(values.end(), from, from + c.length);
    }
    return values;
  };
  const auto parameter = [&](const Values& values, const Shape& shape) {
    return values.empty() ? Tensor() : Tensor::from(values, shape, wide, device);
  };
  const double before = c.accumulate ? 1.5 : std::numeric_limits<double>::quiet_NaN();
  const auto gradient = [&](const Tensor& of) {
    return of.defined() ? Tensor::from(Values(static_cast<size_t>(of.numel()), before), of.shape(), wide, device) : of;
  };
  const auto host = [](const Tensor& tensor) { return tensor.defined() ? tensor.to_host() : Values(); };
  const Tensor z = pack(data.z), dy = pack(data.dy), y = pack({}), dz = pack({});  // NaN where nothing is written
  const Tensor weight = parameter(data.short_weight, {projected, c.taps}),
               bias = parameter(data.short_bias, {projected});
  const Tensor input_bias = parameter(data.input_bias, {projected}), skip = parameter(data.skip, {c.channels});
  const Tensor k = parameter(data.k, {c.channels, c.filter_taps()});
  const Tensor dweight = gradient(weight), dbias = gradient(bias), dinput_bias = gradient(input_bias);
  const Tensor dk = gradient(k), dskip = gradient(skip);
  const auto [table, stream] = kernels::on(device);
  table.hyena_conv_forward(stream, {.z = view(z, projected),
                                    .short_weight = weight.view(),
                                    .short_bias = bias.view(),
                                    .input_bias = input_bias.view(),
                                    .k = k.view(),
                                    .skip = skip.view(),
                                    .y = view(y, c.channels),
                                    .composed = composed});
  table.hyena_conv_backward(stream, {.dy = view(dy, c.channels),
                                     .z = view(z, projected),
                                     .short_weight = weight.view(),
                                     .short_bias = bias.view(),
                                     .input_bias = input_bias.view(),
                                     .k = k.view(),
                                     .skip = skip.view(),
                                     .dz = view(dz, projected),
                                     .dshort_weight = dweight.view(),
                                     .dshort_bias = dbias.view(),
                                     .dinput_bias = dinput_bias.view(),
                                     .dk = dk.view(),
                                     .dskip = dskip.view(),
                                     .accumulate_short_weight = c.accumulate,
                                     .accumulate_short_bias = c.accumulate,
                                     .accumulate_input_bias = c.accumulate,
                                     .accumulate_k = c.accumulate,
                                     .accumulate_skip = c.accumulate,
                                     .composed = composed});
  return {unpack(y, c.channels),
          unpack(dz, projected),
          host(dweight),
          host(dbias),
          host(dinput_bias),
          host(dk),
          host(dskip)};
}

// The definition, term by term, and its derivatives.
Results definition(const Case& c, const Data& data) {
  const int64_t length = c.length, taps = c.taps, filter = c.filter_taps();
  const auto at = [](const Values& values, int64_t i) { return values.empty() ? 0.0 : values[static_cast<size_t>(i)]; };
  Results out{Values(data.dy.size()),         Values(data.z.size()),          Values(data.short_weight.size()),
              Values(data.short_bias.size()), Values(data.input_bias.size()), Values(data.k.size()),
              Values(data.skip.size())};
  for (int64_t row = 0; row < c.rows(); ++row) {
    const int64_t d = row / c.batch;
    Values p[3], dp[3];
    for (int64_t part = 0; part < 3; ++part) {
      const int64_t channel = part * c.channels + d, start = (part * c.rows() + row) * length;
      p[part].assign(length, at(data.short_bias, channel)), dp[part].assign(length, 0);
      for (int64_t l = 0; l < length; ++l) {
        for (int64_t lag = 0; lag < taps && lag <= l; ++lag) {
          p[part][l] += data.short_weight[channel * taps + taps - 1 - lag] *
                        (data.z[start + l - lag] + at(data.input_bias, channel));
        }
      }
    }
    const double* dy = data.dy.data() + row * length;
    Values c_row(length), dx(length);
    const auto term = [&](int64_t l, int64_t j, double tap, double& dtap) {
      const double x = p[1][l - j] * p[2][l - j], g = dy[l] * p[0][l];
      c_row[l] += tap * x, dx[l - j] += tap * g, dtap += g * x;
    };
    for (int64_t l = 0; l < length; ++l) {
      for (int64_t j = 0; j < filter && j <= l; ++j) term(l, j, data.k[d * filter + j], out.dk[d * filter + j]);
      if (c.skip) term(l, 0, data.skip[d], out.dskip[d]);
    }
    for (int64_t l = 0; l < length; ++l) {
      out.y[row * length + l] = p[0][l] * c_row[l];
      dp[0][l] = dy[l] * c_row[l], dp[1][l] = dx[l] * p[2][l], dp[2][l] = dx[l] * p[1][l];
    }
    for (int64_t part = 0; part < 3; ++part) {
      const int64_t channel = part * c.channels + d, start = (part * c.rows() + row) * length;
      for (int64_t l = 0; l < length; ++l) {
        if (c.biases) out.dshort_bias[channel] += dp[part][l];
        for (int64_t lag = 0; lag < taps && lag <= l; ++lag) {
          const int64_t tap = channel * taps + taps - 1 - lag;
          out.dz[start + l - lag] += data.short_weight[tap] * dp[part][l];
          out.dshort_weight[tap] += dp[part][l] * (data.z[start + l - lag] + at(data.input_bias, channel));
          if (c.biases) out.dinput_bias[channel] += data.short_weight[tap] * dp[part][l];
        }
      }
    }
  }
  if (c.accumulate) {
    for (Values* sums : {&out.dshort_weight, &out.dshort_bias, &out.dinput_bias, &out.dk, &out.dskip}) {
      for (double& value : *sums) value += 1.5;
    }
  }
  return out;
}

double norm(const Values& x) { return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0)); }
class HyenaConv : public OnDevice {
 protected:
  /// Of gradients of parameters: relative to the results and to what such sums come to, as few that cancel are small by
  /// chance. Terms of short filters are as large as dz times z, and that of the skip is like each of the taps.
  static double error_of_sums(const Case& c, const Data& data, const Results& got, const Results& want) {
    double worst = 0;
    const auto compare = [&](Values Results::*member, double typical) {
      const Values &a = got.*member, &b = want.*member;
      Values difference(b);
      for (size_t i = 0; i < b.size(); ++i) difference[i] -= a[i];
      const double size = norm(b) + typical * std::sqrt(static_cast<double>(b.size()));
      if (!b.empty()) worst = std::max(worst, std::isfinite(norm(a)) ? norm(difference) / size : 1);
    };
    const double terms = std::sqrt(static_cast<double>(c.batch * c.length)) * rms(want.dz);
    compare(&Results::dshort_weight, terms * rms(data.z));
    compare(&Results::dshort_bias, terms);
    compare(&Results::dinput_bias, terms);
    compare(&Results::dskip, 8 * rms(want.dk));
    return worst;
  }

  void expect_definition(const Case& c, Dtype dtype) {
    if (dtype == Dtype::f64 && device().type != DeviceType::cpu) return;
    SCOPED_TRACE(to_string(c) + " " + to_string(dtype));
    const Data data = make_data(c);
    const Results got = run(c, data, dtype, device()), want = definition(c, data);
    EXPECT_LT(relative_error(got.y, want.y), tolerance(dtype));
    EXPECT_LT(relative_error(got.dz, want.dz), tolerance(dtype));
    EXPECT_LT(relative_error(got.dk, want.dk), 3 * tolerance(dtype));
    EXPECT_LT(error_of_sums(c, data, got, want), tolerance(dtype));
  }

  /// bf16 against f64 on a CPU. `rounded`: errors of gradients, which round those of p, and of all where kernels are
  /// composed.
  void expect_near_f64(const Case& c, double bound = 1.3e-3, double rounded = 6e-3) {
    SCOPED_TRACE(to_string(c));
    const Data data = make_data(c);
    const Results got = run(c, data, Dtype::bf16, device()), want = run(c, data, Dtype::f64, kCpu);
    const double forward = in_one_kernel(c) ? bound : rounded, backward = c.length <= 4096 ? forward : rounded;
    EXPECT_LT(worst_row(got.y, want.y, c.length, Dtype::bf16), forward);
    EXPECT_LT(worst_row(got.dz, want.dz, c.length, Dtype::bf16), rounded);
    EXPECT_LT(worst_row(got.dk, want.dk, c.filter_taps(), Dtype::f64), backward);
    EXPECT_LT(error_of_sums(c, data, got, want), rounded);
  }

  static constexpr Values Results::*kMembers[] = {&Results::y,           &Results::dz,          &Results::dshort_weight,
                                                  &Results::dshort_bias, &Results::dinput_bias, &Results::dk,
                                                  &Results::dskip};

 private:
  bool in_one_kernel(const Case& c) const {
    return device().type == DeviceType::cuda && kernels::hyena_in_one_kernel(Dtype::bf16, c.length, c.taps) &&
           c.gap % 8 == 0;
  }
};

MARA_ON_EVERY_DEVICE(HyenaConv);

TEST_P(HyenaConv, EqualsDefinition) {
  for (const Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
    for (const int64_t length : {1, 2, 5, 16, 33, 100, 256}) {
      for (const int64_t taps : {1, 3, 4, 7}) expect_definition({2, 3, length, taps, (length + 2) / 2}, dtype);
    }
    expect_definition({.channels = 2, .batch = 2, .length = 40, .biases = false, .skip = false}, dtype);
    expect_definition({.channels = 2, .batch = 3, .length = 48, .gap = 8, .accumulate = true}, dtype);
    expect_definition({.channels = 1, .batch = 2, .length = 264, .filter = 600, .gap = 4}, dtype);
  }
}

TEST_P(HyenaConv, EqualsF64AtEveryLength) {
  for (const int64_t length :
       {512, 1000, 1001, 1016, 1024, 1032, 2040, 2048, 2056, 4088, 4096, 4104, 8184, 8192, 8200}) {
    expect_near_f64({2, 3, length});
  }
}

TEST_P(HyenaConv, TakesAnyBatchFilterAndParameters) {
  for (const int64_t length : {1024, 2048, 4096, 8192}) {
    expect_near_f64({5, 1, length, 4, length / 16});
    expect_near_f64(
        {.channels = 2, .batch = 9, .length = length - 8, .taps = 2, .filter = length / 2, .biases = false});
    expect_near_f64({1, 2, length - 16, 1, 2 * length});
    expect_near_f64({.channels = 2, .batch = 5, .length = length, .skip = false, .gap = 24, .accumulate = true});
    expect_near_f64({1, 2, length, 5});  // more taps than one kernel takes
  }
  expect_near_f64({.channels = 2, .batch = 3, .length = 1024, .gap = 4});  // not at multiples of 16 bytes
}

// More than a GPU has multiprocessors, so that a block goes from row to row and from channel to channel, and channels
// are cut between blocks. A CPU knows no such blocks.
TEST_P(HyenaConv, BlocksTakeManyRows) {
  if (device().type == DeviceType::cpu) GTEST_SKIP();
  expect_near_f64({100, 17, 1024}, 1.6e-3);
  expect_near_f64({60, 13, 2048}, 1.6e-3);
  expect_near_f64({36, 13, 4096}, 1.6e-3);
  expect_near_f64({25, 11, 8192}, 1.6e-3);
}

TEST_P(HyenaConv, TakesDataOfAnySize) {
  for (const int64_t length : {1024, 2048, 4096, 8192}) {
    for (const double size : {1e-3, 3e3}) {
      expect_near_f64({.channels = 1, .batch = 2, .length = length, .size = size, .dy_size = 1e-6});
    }
    expect_near_f64({.channels = 1, .batch = 2, .length = length, .size = 0.1, .offset = 1}, 4.8e-3, 1.2e-2);
  }
}

TEST_P(HyenaConv, RepeatsBitForBit) {
  for (const int64_t length : {1024, 2048, 4096, 8192}) {
    const Case c{3, 5, length};
    const Data data = make_data(c);
    const Results one = run(c, data, Dtype::bf16, device()), two = run(c, data, Dtype::bf16, device());
    for (const auto member : kMembers) EXPECT_EQ(one.*member, two.*member);
  }
}

// The others keep every bit: not even the scale of a row comes from another.
TEST_P(HyenaConv, NotANumberStaysInItsRow) {
  for (const int64_t length : {1024, 2048, 4096, 8192}) {
    const Case c{2, 3, length};
    const Data data = make_data(c);
    const Results clean = run(c, data, Dtype::bf16, device());
    const int64_t bad = 1;  // batch row 1 of channel 0
    for (const int64_t part : {0, 1, 2, 3}) {
      Data poisoned = data;
      Values& rows = part < 3 ? poisoned.z : poisoned.dy;
      rows[(part % 3 * c.rows() + bad) * length + length / 2] = std::numeric_limits<double>::quiet_NaN();
      const Results got = run(c, poisoned, Dtype::bf16, device());
      const auto others_are_equal = [&](const Values& a, const Values& b, int64_t per_row) {
        for (int64_t row = 0; row < std::ssize(a) / per_row; ++row) {
          const auto at = row * per_row;
          const bool own = per_row == length ? row % c.rows() == bad : row % c.channels == 0;
          if (!own && !std::equal(a.begin() + at, a.begin() + at + per_row, b.begin() + at)) return false;
        }
        return true;
      };
      EXPECT_TRUE(others_are_equal(clean.y, got.y, length));
      EXPECT_TRUE(others_are_equal(clean.dz, got.dz, length));
      const std::pair<Values Results::*, int64_t> sums[] = {
          {&Results::dshort_weight, c.taps}, {&Results::dshort_bias, 1}, {&Results::dinput_bias, 1}};
      for (const auto& [member, count] : sums) EXPECT_TRUE(others_are_equal(clean.*member, got.*member, count));
      EXPECT_TRUE(std::equal(clean.dk.begin() + length, clean.dk.end(), got.dk.begin() + length));
      if (part < 3) {
        EXPECT_FALSE(std::isfinite(got.y[bad * length + length / 2]));
      }
      EXPECT_FALSE(std::all_of(got.dz.begin(), got.dz.end(), [](double v) { return std::isfinite(v); }));
      EXPECT_FALSE(std::isfinite(got.dk[0]));
    }
  }
}

// Whatever else is wanted, an output is the same.
TEST_P(HyenaConv, AbsentOutputsAreNotMissed) {
  const int64_t length = 1024, projected = 6;
  const Case c{2, 3, length};
  const Data data = make_data(c);
  const auto of = [&](const Values& values, const Shape& shape, Dtype dtype) {
    return Tensor::from(values, shape, dtype, device());
  };
  const Tensor z = of(data.z, {projected, 3, length}, Dtype::bf16), dy = of(data.dy, {2, 3, length}, Dtype::bf16);
  const Tensor weight = of(data.short_weight, {projected, 3}, Dtype::f32), k = of(data.k, {2, length}, Dtype::f32);
  const Tensor vector = of(data.short_bias, {projected}, Dtype::f32), skip = of(data.skip, {2}, Dtype::f32);
  const Tensor all[] = {Tensor::empty_like(z),      Tensor::empty_like(weight), Tensor::empty_like(vector),
                        Tensor::empty_like(vector), Tensor::empty_like(k),      Tensor::empty_like(skip)};
  const auto run_for = [&](const auto& pick) {
    const auto [table, stream] = kernels::on(device());
    table.hyena_conv_backward(stream, {.dy = dy.view(),
                                       .z = z.view(),
                                       .short_weight = weight.view(),
                                       .short_bias = vector.view(),
                                       .input_bias = vector.view(),
                                       .k = k.view(),
                                       .skip = skip.view(),
                                       .dz = pick(0).view(),
                                       .dshort_weight = pick(1).view(),
                                       .dshort_bias = pick(2).view(),
                                       .dinput_bias = pick(3).view(),
                                       .dk = pick(4).view(),
                                       .dskip = pick(5).view()});
  };
  run_for([&](size_t i) { return all[i]; });
  for (size_t i = 0; i < std::size(all); ++i) {
    const Tensor alone = Tensor::empty_like(all[i]);
    run_for(
        [&](size_t which) { return which == i || (i > 0 && which == 0) ? (which == i ? alone : all[0]) : Tensor(); });
    EXPECT_EQ(alone.to_host(), all[i].to_host()) << "output " << i;
  }
}

// What the comparisons above would not forgive: a tap, a bias and the start of a row.
TEST_P(HyenaConv, MistakesAreSeen) {
  const Case c{1, 2, 1024};
  const Data data = make_data(c);
  const Results got = run(c, data, Dtype::bf16, device());
  const auto error = [&](Data changed) {
    return worst_row(got.y, run(c, changed, Dtype::f64, kCpu).y, c.length, Dtype::bf16);
  };
  Data tap = data, bias = data, late = data;
  tap.short_weight[0] += 0.02, bias.short_bias[1] += 0.02;
  std::rotate(late.z.begin(), late.z.end() - 1, late.z.end());
  for (const Data& changed : {tap, bias, late}) EXPECT_GT(error(changed), 6e-3);
  EXPECT_LT(error(data), 6e-3);
}

// The bias of what made z is as if z had it, within the row.
TEST_P(HyenaConv, InputBiasIsPartOfTheInput) {
  const Case c{2, 3, 40};
  const Data data = make_data(c);
  Data shifted = data;
  for (size_t i = 0; i < shifted.z.size(); ++i) shifted.z[i] += data.input_bias[i / (3 * 40)];
  shifted.input_bias.assign(shifted.input_bias.size(), 0);
  const Results one = run(c, data, Dtype::f32, device()), two = run(c, shifted, Dtype::f32, device());
  for (const auto member : kMembers) EXPECT_LT(relative_error(one.*member, two.*member), tolerance(Dtype::f32));
}

}  // namespace
}  // namespace mara
