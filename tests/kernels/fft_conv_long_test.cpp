// Long convolutions of bf16 rows that no kernel takes at once, and their neighbours.

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "devices.h"
#include "fft_conv_rows.h"
#include "kernels/fft_conv.h"
#include "kernels/kernels.h"

namespace mara {
namespace {

struct Case {
  int64_t channels = 1, batch = 1, length = 0, taps = 0, reverse = 0;
  bool gate_in = true, gate_out = true;
  double u_size = 1, u_offset = 0, dy_size = 1, outlier = 0;
  int64_t gap = 0, base = 0;  // elements between rows and before the first one, of (B, D, L + gap) tensors
  bool accumulate = false;    // the filters' gradients, to 1.5

  int64_t rows() const { return channels * batch; }
};

std::string to_string(const Case& c) {
  return detail::join({"D ",
                       c.channels,
                       " B ",
                       c.batch,
                       " L ",
                       c.length,
                       " K ",
                       c.taps,
                       " reverse ",
                       c.reverse,
                       c.gate_in ? " gate_in" : "",
                       c.gate_out ? " gate_out" : "",
                       " u ",
                       c.u_offset,
                       " +- ",
                       c.u_size,
                       " dy ",
                       c.dy_size,
                       " gap ",
                       c.gap,
                       " base ",
                       c.base,
                       c.accumulate ? " accumulate" : ""});
}

ConvData make_data(const Case& c) {
  const int64_t count = c.rows() * c.length;
  ConvData data{.u = noise(count, 1, c.u_size, c.u_offset, Dtype::bf16),
                .gate_in = noise(c.gate_in ? count : 0, 3, 1, c.u_offset, Dtype::bf16),
                .gate_out = noise(c.gate_out ? count : 0, 4, 1, 0, Dtype::bf16),
                .dy = noise(count, 2, c.dy_size, 0, Dtype::bf16),
                .k = decaying(c.channels, c.taps, 5),
                .k_reverse = decaying(c.channels, c.reverse, 7),
                .skip = noise(c.channels, 6, 1, 0, Dtype::f32)};
  if (c.outlier != 0) data.u[static_cast<size_t>(c.length / 3)] = c.outlier;
  return data;
}

ConvResults run(const Case& c, const ConvData& data, Dtype dtype, Device device) {
  const int64_t pitch = c.length + c.gap, total = c.base + c.rows() * pitch;
  const auto at = [&](int64_t row) { return c.base + (row % c.batch * c.channels + row / c.batch) * pitch; };
  const auto rows = [&](const Values* values) {  // NaN where nothing is read, or to be overwritten
    Values packed(static_cast<size_t>(total), std::numeric_limits<double>::quiet_NaN());
    for (int64_t row = 0; row < c.rows() && values != nullptr; ++row) {
      std::copy_n(values->begin() + row * c.length, c.length, packed.begin() + at(row));
    }
    return Tensor::from(packed, {total}, dtype, device);
  };
  const auto view = [&](const Tensor& from) {
    return from.strided({c.channels, c.batch, c.length}, {pitch, c.channels * pitch, 1}, c.base).view();
  };
  const auto unpack = [&](const Tensor& from) {
    const Values packed = from.to_host();
    Values values(static_cast<size_t>(c.rows() * c.length));
    for (int64_t row = 0; row < c.rows(); ++row) {
      std::copy_n(packed.begin() + at(row), c.length, values.begin() + row * c.length);
    }
    return values;
  };
  const Dtype wide = compute_dtype(dtype);
  const double before = c.accumulate ? 1.5 : std::numeric_limits<double>::quiet_NaN();
  const auto filter = [&](const Values& values, int64_t taps) {
    return Tensor::from(values, {c.channels, taps}, wide, device);
  };
  const auto gradient = [&](int64_t taps) {
    return Tensor::from(Values(static_cast<size_t>(c.channels * taps), before), {c.channels, taps}, wide, device);
  };
  const Tensor u = rows(&data.u), dy = rows(&data.dy), y = rows(nullptr), du = rows(nullptr);
  const Tensor gate_in = c.gate_in ? rows(&data.gate_in) : Tensor();
  const Tensor gate_out = c.gate_out ? rows(&data.gate_out) : Tensor();
  const Tensor dgate_in = rows(nullptr), dgate_out = rows(nullptr);
  const Tensor k = filter(data.k, c.taps), dk = gradient(c.taps);
  const Tensor reverse = c.reverse > 0 ? filter(data.k_reverse, c.reverse) : Tensor();
  const Tensor dreverse = c.reverse > 0 ? gradient(c.reverse) : Tensor();
  const Tensor skip = Tensor::from(data.skip, {c.channels}, wide, device);
  const Tensor dskip = Tensor::from(Values(data.skip.size(), before), {c.channels}, wide, device);
  const auto optional = [&](bool present, const Tensor& tensor) { return present ? view(tensor) : View(); };
  const auto [table, stream] = kernels::on(device);
  table.fft_conv_forward(stream, {.u = view(u),
                                  .k = k.view(),
                                  .k_reverse = c.reverse > 0 ? reverse.view() : View(),
                                  .skip = skip.view(),
                                  .gate_in = optional(c.gate_in, gate_in),
                                  .gate_out = optional(c.gate_out, gate_out),
                                  .y = view(y)});
  table.fft_conv_backward(stream, {.dy = view(dy),
                                   .u = view(u),
                                   .k = k.view(),
                                   .k_reverse = c.reverse > 0 ? reverse.view() : View(),
                                   .skip = skip.view(),
                                   .gate_in = optional(c.gate_in, gate_in),
                                   .gate_out = optional(c.gate_out, gate_out),
                                   .du = view(du),
                                   .dgate_in = optional(c.gate_in, dgate_in),
                                   .dgate_out = optional(c.gate_out, dgate_out),
                                   .dk = dk.view(),
                                   .dk_reverse = c.reverse > 0 ? dreverse.view() : View(),
                                   .dskip = dskip.view(),
                                   .accumulate_k = c.accumulate,
                                   .accumulate_k_reverse = c.accumulate,
                                   .accumulate_skip = c.accumulate});
  return {.y = unpack(y),
          .du = unpack(du),
          .dgate_in = c.gate_in ? unpack(dgate_in) : Values(),
          .dgate_out = c.gate_out ? unpack(dgate_out) : Values(),
          .dk = dk.to_host(),
          .dk_reverse = c.reverse > 0 ? dreverse.to_host() : Values(),
          .dskip = dskip.to_host()};
}

class FftConvLong : public OnDevice {
 protected:
  /// On a CPU every length goes the same way: one is enough.
  bool shortened() const { return device().type == DeviceType::cpu; }

  void expect_near(const Case& c, double bound = 1.2e-3) {
    SCOPED_TRACE(to_string(c));
    const ConvData data = make_data(c);
    const ConvResults got = run(c, data, Dtype::bf16, device()), want = run(c, data, Dtype::f64, kCpu);
    EXPECT_LT(worst_row(got.y, want.y, c.length, Dtype::bf16), bound);
    EXPECT_LT(worst_row(got.du, want.du, c.length, Dtype::bf16), bound);
    EXPECT_LT(worst_row(got.dgate_in, want.dgate_in, c.length, Dtype::bf16), bound);
    EXPECT_LT(worst_row(got.dgate_out, want.dgate_out, c.length, Dtype::bf16), bound);
    EXPECT_LT(worst_row(got.dk, want.dk, c.taps, Dtype::f64), bound);
    EXPECT_LT(worst_row(got.dk_reverse, want.dk_reverse, c.reverse, Dtype::f64), bound);
    // One number of a channel: judged by the size of dk's, of which it is one, and its own.
    double squares = 0;
    for (double value : want.dk) squares += value * value;
    const double typical = std::sqrt(squares / static_cast<double>(want.dk.size()));
    for (size_t d = 0; d < want.dskip.size(); ++d) {
      EXPECT_NEAR(got.dskip[d], want.dskip[d], bound * (8 * typical + std::abs(want.dskip[d])));
    }
  }
};

MARA_ON_EVERY_DEVICE(FftConvLong);

TEST_P(FftConvLong, EqualsF64AtEveryLength) {
  expect_near({.channels = 2, .batch = 2, .length = 32776, .taps = 32776});
  if (shortened()) return;
  for (int gates = 0; gates < 4; ++gates) {
    expect_near({.batch = 3, .length = 65536, .taps = 65536, .gate_in = gates % 2 == 1, .gate_out = gates / 2 == 1});
  }
  expect_near({.length = 32769, .taps = 40000});  // not a multiple of 16 bytes
  expect_near({.channels = 3, .batch = 8, .length = 65544, .taps = 1000});
  expect_near({.channels = 3, .length = 100000, .taps = 50001});
  expect_near({.batch = 2, .length = 131072, .taps = 140000, .accumulate = true});
  for (int64_t length : {262144, 524288, 1048568}) expect_near({.batch = 2, .length = length, .taps = length});
  expect_near({.length = 1 << 20, .taps = 1 << 20, .gate_in = false});
  // In parts of 2^20.
  expect_near({.length = (1 << 20) + 8, .taps = 2000000, .gate_out = false, .accumulate = true});
  expect_near({.batch = 2, .length = 1 << 21, .taps = 1 << 21});
  expect_near({.length = 3000000, .taps = 2999999, .gate_in = false});
  expect_near({.length = 1 << 22, .taps = 1 << 22});
  expect_near({.length = (1 << 22) + 8, .taps = 1 << 22, .gate_in = false, .gate_out = false});  // too long
}

TEST_P(FftConvLong, TakesFiltersWithLagsOnBothSides) {
  if (shortened()) GTEST_SKIP() << "as other lengths";
  for (int64_t length : {40000, 131072, 524288}) {
    expect_near({.channels = 2, .length = length, .taps = length, .reverse = length - 9});
    expect_near({.batch = 2, .length = length, .taps = 300, .reverse = length + 50000, .accumulate = true});
  }
  expect_near({.batch = 2, .length = 1 << 21, .taps = 1 << 21, .reverse = 2100000, .accumulate = true});
  expect_near({.length = 3200000, .taps = 1500000, .reverse = 3200000});
}

// Of rows of 2^20 points the work space holds 24 forward and 16 backward, of two parts 12 and 8, and about as many
// filters' spectra, which are made four at a time.
TEST_P(FftConvLong, GoesThroughMoreThanTheWorkSpaceHolds) {
  if (shortened()) GTEST_SKIP() << "as other lengths";
  expect_near({.channels = 25, .length = 524296, .taps = 524296, .gate_in = false});
  expect_near({.batch = 17, .length = 524296, .taps = 524296, .gate_in = false, .accumulate = true});
  expect_near({.channels = 3, .batch = 3, .length = (1 << 20) + 8, .taps = 1 << 20, .gate_in = false, .gap = 8});
  expect_near({.batch = 9, .length = (1 << 20) + 8, .taps = 1 << 20, .gate_in = false});
}

TEST_P(FftConvLong, TakesStridedRows) {
  if (shortened()) GTEST_SKIP() << "as other lengths";
  for (int64_t gap : {8, 4}) {  // 4: not at multiples of 16 bytes
    expect_near({.channels = 3, .batch = 2, .length = 70000, .taps = 70000, .gap = gap});
  }
  for (int64_t base : {8, 1}) expect_near({.channels = 2, .batch = 2, .length = 70000, .taps = 70000, .base = base});
}

TEST_P(FftConvLong, TakesDataOfAnySize) {
  if (shortened()) GTEST_SKIP() << "as other lengths";
  for (int64_t length : {65536, 131072, 1 << 20, 1 << 21}) {
    for (double size : {1e-6, 3e3}) {
      expect_near({.length = length, .taps = length, .u_size = size, .dy_size = size});
    }
    expect_near({.length = length, .taps = length, .u_size = 0.1, .u_offset = 1}, 4.8e-3);
    expect_near({.length = length, .taps = length, .gate_in = false, .gate_out = false, .outlier = 3072});
  }
}

TEST_P(FftConvLong, RowsDoNotSeeEachOtherAndRepeatBitForBit) {
  if (shortened()) GTEST_SKIP() << "as other lengths";
  const auto same = [](const Values& a, const Values& b, int64_t begin, int64_t end) {
    return std::memcmp(a.data() + begin, b.data() + begin, static_cast<size_t>(end - begin) * sizeof(double)) == 0;
  };
  for (int64_t length : {65536, 131072, 1 << 20, 1 << 21}) {
    const Case c{.channels = 2, .batch = 3, .length = length, .taps = length};
    ConvData data = make_data(c);
    const ConvResults first = run(c, data, Dtype::bf16, device()), second = run(c, data, Dtype::bf16, device());
    EXPECT_TRUE(same(first.y, second.y, 0, 6 * length) && same(first.du, second.du, 0, 6 * length));
    EXPECT_TRUE(same(first.dk, second.dk, 0, 2 * length));
    const int64_t half = length / 2;
    data.u[static_cast<size_t>(length + half)] = std::numeric_limits<double>::quiet_NaN();
    const ConvResults spoilt = run(c, data, Dtype::bf16, device());
    for (const auto& [begin, end] : {std::pair(int64_t{0}, length), std::pair(2 * length, 6 * length)}) {
      EXPECT_TRUE(same(first.y, spoilt.y, begin, end) && same(first.dgate_out, spoilt.dgate_out, begin, end));
    }
    EXPECT_TRUE(same(first.du, spoilt.du, 0, 6 * length));
    EXPECT_TRUE(same(first.dk, spoilt.dk, length, 2 * length));
    const auto is_nan = [](double value) { return std::isnan(value); };
    EXPECT_TRUE(std::all_of(spoilt.y.begin() + length + half, spoilt.y.begin() + 2 * length, is_nan));
    EXPECT_TRUE(std::all_of(spoilt.dk.begin(), spoilt.dk.begin() + length - half, is_nan));
  }
}

}  // namespace
}  // namespace mara
