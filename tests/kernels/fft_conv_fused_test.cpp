// Long convolutions of bf16 rows at the lengths that a GPU takes in one kernel, with fp16 inside, and at their
// neighbours.

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "devices.h"
#include "fft_conv_rows.h"
#include "kernels/fft_conv.h"
#include "kernels/kernels.h"

namespace mara {
namespace {

// Lengths with the most taps that one of the ways to go takes: several rows to a transform, one transform, two, parts,
// chunks.
constexpr std::pair<int64_t, int64_t> kShapes[] = {{1024, 1024},   {2048, 2048},   {4096, 4096},  {8192, 8192},
                                                   {16384, 16384}, {32768, 32768}, {20000, 4096}, {20000, 8192}};

class FftConvFused : public OnDevice {
 protected:
  void expect_near(const ConvCase& c, double bound = 1.2e-3) { expect_near_f64(c, device(), bound); }
};

MARA_ON_EVERY_DEVICE(FftConvFused);

TEST_P(FftConvFused, EqualsF64AtEveryLength) {
  for (int64_t length : {1024, 2048, 4096, 8192, 16384, 32768}) {
    for (int gates = 0; gates < 4; ++gates) expect_near({2, 3, length, length, gates % 2 == 1, gates / 2 == 1});
  }
  for (int64_t length : {264,  776,  1000, 1001,  1032,  2040,  2056,  4088,  4095,  4104, 5000,
                         8184, 8200, 8760, 12288, 14113, 16392, 20000, 24584, 32760, 32767})
    expect_near({1, 2, length, length});
}

TEST_P(FftConvFused, TakesFiltersWithLagsOnBothSides) {
  using enum kernels::ConvForm;
  for (const auto form : {causal, circular}) {
    for (int64_t length : {1024, 2048, 4096, 8192}) {
      expect_near({.channels = 2, .batch = 3, .length = length, .taps = length, .reverse = length, .form = form});
      expect_near({.channels = 1,
                   .batch = 2,
                   .length = length,
                   .taps = 300,
                   .gate_in = false,
                   .reverse = length - 1,
                   .form = form});
      expect_near({.channels = 2,
                   .batch = 1,
                   .length = length - 8,
                   .taps = 2 * length,
                   .gate_out = false,
                   .accumulate = true,
                   .reverse = 3 * length + 5,
                   .form = form});
    }
    for (int64_t length : {776, 1000, 2056, 5000, 8200, 16384, 32760}) {
      expect_near({.channels = 1, .batch = 2, .length = length, .taps = length, .reverse = length / 2, .form = form});
    }
  }
  for (int64_t length : {4096, 5000, 8192, 16384, 32768}) {  // a circle without a reverse filter
    for (int64_t taps : {length / 3, length, length + 1}) {
      expect_near({.channels = 2, .batch = 2, .length = length, .taps = taps, .form = circular});
    }
  }
}

TEST_P(FftConvFused, TakesShortFiltersAtAnyLength) {
  for (int64_t taps : {4096, 8192}) {
    for (int gates = 0; gates < 4; ++gates) expect_near({2, 3, 20000, taps, gates % 2 == 1, gates / 2 == 1});
    expect_near({.channels = 3, .batch = 1, .length = 9000, .taps = taps, .gap = 8, .accumulate = true});
    expect_near({1, 1, 131072, taps});
  }
  for (int64_t length : {8200, 12288, 12296, 16384, 24576, 32776}) {
    for (int64_t taps : {300, 2000, 4097}) expect_near({1, 2, length, taps});
  }
  for (double size : {1e-6, 3e3}) {
    expect_near({.channels = 1, .batch = 2, .length = 20000, .taps = 4096, .u_size = size, .dy_size = size});
  }
}

TEST_P(FftConvFused, TakesAnyBatchAndFilter) {
  for (int64_t length : {1024, 2048, 4096, 8192, 16384, 32768}) {
    expect_near({5, 1, length, 1});
    expect_near({1, 1, length, 300});
    expect_near({2, 9, length - 8, length / 2});
    expect_near({.channels = 2, .batch = 2, .length = length, .taps = length, .accumulate = true});
  }
}

// More than a GPU has multiprocessors, so that a block goes from row to row and from channel to channel, and channels
// are cut between blocks; up to 4096 points eight steps for each block of an H200, twice as many as it holds at a time.
// A CPU knows no such blocks.
TEST_P(FftConvFused, BlocksTakeManyRows) {
  if (device().type == DeviceType::cpu) GTEST_SKIP();
  const double worst_of_thousands = 1.6e-3;
  expect_near({71, 61, 1024, 1024}, worst_of_thousands);
  expect_near({71, 31, 2048, 2048}, worst_of_thousands);
  expect_near({61, 19, 4096, 4096}, worst_of_thousands);
  expect_near({.channels = 61, .batch = 19, .length = 3000, .taps = 100, .gate_in = false, .gate_out = false},
              worst_of_thousands);
  expect_near({25, 11, 8192, 8192}, worst_of_thousands);
  expect_near({17, 9, 16384, 16384}, worst_of_thousands);
  expect_near({15, 9, 32768, 32768}, worst_of_thousands);
  for (int gates = 0; gates < 3; ++gates) {  // none or one; clusters take three rows each
    expect_near({29, 7, 16384, 16384, gates == 1, gates == 2}, worst_of_thousands);
    expect_near({15, 7, 32768, 32768, gates == 1, gates == 2}, worst_of_thousands);
  }
  expect_near({12, 9, 20000, 4096}, worst_of_thousands);
  expect_near({12, 9, 20000, 8192}, worst_of_thousands);
  expect_near({.channels = 36, .batch = 13, .length = 4096, .taps = 300, .gate_in = false, .reverse = 4096},
              worst_of_thousands);
}

TEST_P(FftConvFused, TakesStridedRows) {
  for (const auto& [length, taps] : kShapes) {
    expect_near({.channels = 2, .batch = 5, .length = length - 8, .taps = taps, .gap = 24});
  }
  for (int64_t gap : {8, 4}) {  // 4: not at multiples of 16 bytes
    expect_near({.channels = 2, .batch = 3, .length = 4096, .taps = 4096, .gap = gap});
    expect_near({.channels = 2, .batch = 2, .length = 8184, .taps = 100, .gate_in = false, .gap = gap});
  }
}

TEST_P(FftConvFused, TakesDataOfAnySize) {
  for (int64_t length : {1024, 2048, 4096, 8192, 16384, 32768}) {
    for (double size : {1e-6, 1e-3, 3e3}) {
      expect_near({.channels = 1, .batch = 2, .length = length, .taps = length, .u_size = size, .dy_size = size});
    }
    expect_near({.channels = 1, .batch = 2, .length = length, .taps = length, .u_size = 0.1, .u_offset = 1}, 4.8e-3);
  }
}

TEST_P(FftConvFused, ZeroRowsGiveZeros) {
  for (const auto& [length, taps] : kShapes) {
    const ConvCase c{2, 2, length, taps};
    ConvData data = make_data(c);
    std::fill_n(data.u.begin(), c.length, 0.0), std::fill_n(data.dy.begin(), c.length, 0.0);
    const ConvResults got = run(c, data, Dtype::bf16, device());
    for (const Values* values : {&got.y, &got.du, &got.dgate_in, &got.dgate_out}) {
      EXPECT_TRUE(std::all_of(values->begin(), values->begin() + c.length, [](double v) { return v == 0; }));
      EXPECT_TRUE(std::all_of(values->begin(), values->end(), [](double v) { return std::isfinite(v); }));
    }
  }
}

TEST_P(FftConvFused, RepeatsBitForBit) {
  for (const auto& [length, taps] : kShapes) {
    const ConvCase c{3, 5, length, taps};
    const ConvData data = make_data(c);
    const ConvResults one = run(c, data, Dtype::bf16, device()), two = run(c, data, Dtype::bf16, device());
    EXPECT_EQ(one.y, two.y);
    EXPECT_EQ(one.du, two.du);
    EXPECT_EQ(one.dgate_in, two.dgate_in);
    EXPECT_EQ(one.dgate_out, two.dgate_out);
    EXPECT_EQ(one.dk, two.dk);
    EXPECT_EQ(one.dskip, two.dskip);
  }
}

// The others keep every bit: not even the scale of a row comes from another.
TEST_P(FftConvFused, NotANumberStaysInItsRow) {
  for (const auto& [length, taps] : kShapes) {
    const ConvCase c{2, 3, length, taps};
    const ConvData data = make_data(c);
    const ConvResults clean = run(c, data, Dtype::bf16, device());
    const int64_t begin = length, end = 2 * length, place = begin + length / 2;  // batch row 1 of channel 0
    for (double poison : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
      for (const bool in_u : {true, false}) {
        ConvData poisoned = data;
        (in_u ? poisoned.u : poisoned.dy)[place] = poison;
        const ConvResults got = run(c, poisoned, Dtype::bf16, device());
        const auto others_equal = [&](const Values& a, const Values& b, int64_t skip_begin, int64_t skip_end) {
          return std::equal(a.begin(), a.begin() + skip_begin, b.begin()) &&
                 std::equal(a.begin() + skip_end, a.end(), b.begin() + skip_end);
        };
        EXPECT_TRUE(others_equal(clean.y, got.y, begin, end));
        EXPECT_TRUE(others_equal(clean.du, got.du, begin, end));
        EXPECT_TRUE(others_equal(clean.dgate_in, got.dgate_in, begin, end));
        EXPECT_TRUE(others_equal(clean.dgate_out, got.dgate_out, begin, end));
        EXPECT_TRUE(others_equal(clean.dk, got.dk, 0, taps));
        EXPECT_FALSE(std::isfinite((in_u ? got.y : got.du)[place]));
        EXPECT_FALSE(std::isfinite(got.dk[0]));
        EXPECT_FALSE(std::isfinite(got.dskip[0]));
      }
    }
  }
}

TEST_P(FftConvFused, OutputsAreIndependent) {
  const auto [table, stream] = kernels::on(device());
  for (const auto& [length, taps] : kShapes) {
    const ConvCase c{.channels = 2, .batch = 3, .length = length, .taps = taps, .reverse = length > 8192 ? 0 : 300};
    const ConvData data = make_data(c);
    const ConvResults want = run(c, data, Dtype::bf16, device());
    const Shape rows{c.channels, c.batch, c.length};
    const auto in = [&](const Values& v, const Shape& shape, Dtype dtype) {
      return Tensor::from(v, shape, dtype, device());
    };
    const Tensor dy = in(data.dy, rows, Dtype::bf16), u = in(data.u, rows, Dtype::bf16);
    const Tensor gate_in = in(data.gate_in, rows, Dtype::bf16), gate_out = in(data.gate_out, rows, Dtype::bf16);
    const Tensor k = in(data.k, {c.channels, c.taps}, Dtype::f32), skip = in(data.skip, {c.channels}, Dtype::f32);
    const Tensor k_reverse = c.reverse == 0 ? Tensor() : in(data.k_reverse, {c.channels, c.reverse}, Dtype::f32);
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
      EXPECT_LT(relative_error(out.to_host(), values), 1e-3);  // a CPU goes another way for some
    };
    expect_alone(&kernels::FftConvBackward::du, u, want.du);
    expect_alone(&kernels::FftConvBackward::dgate_in, u, want.dgate_in);
    expect_alone(&kernels::FftConvBackward::dgate_out, u, want.dgate_out);
    expect_alone(&kernels::FftConvBackward::dk, k, want.dk);
    if (c.reverse > 0) expect_alone(&kernels::FftConvBackward::dk_reverse, k_reverse, want.dk_reverse);
    expect_alone(&kernels::FftConvBackward::dskip, skip, want.dskip);
  }
}

// What the comparisons above would not forgive: one tap of a thousand off by a hundredth of the largest.
TEST_P(FftConvFused, MistakesAreSeen) {
  const ConvCase c{1, 1, 4096, 1000};
  ConvData data = make_data(c);
  const ConvResults got = run(c, data, Dtype::bf16, device());
  data.k[500] += 0.05;
  const ConvResults want = run(c, data, Dtype::f64, kCpu);
  EXPECT_GT(worst_row(got.y, want.y, c.length, Dtype::bf16), 2.4e-3);
  EXPECT_GT(worst_row(got.du, want.du, c.length, Dtype::bf16), 2.4e-3);
}

}  // namespace
}  // namespace mara
