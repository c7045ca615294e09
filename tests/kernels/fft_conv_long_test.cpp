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

class FftConvLong : public OnDevice {
 protected:
  /// On a CPU every length goes the same way: one is enough.
  bool shortened() const { return device().type == DeviceType::cpu; }

  void expect_near(ConvCase c, double bound = 1.2e-3) {
    c.batch_first = true;
    expect_near_f64(c, device(), bound);
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
  for (int64_t length : {262144, 524288, 1048568, 1048575}) expect_near({.batch = 2, .length = length, .taps = length});
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
    expect_near({.batch = 2, .length = length, .taps = 300, .accumulate = true, .reverse = length + 50000});
  }
  expect_near({.batch = 2, .length = 1 << 21, .taps = 1 << 21, .accumulate = true, .reverse = 2100000});
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
    const ConvCase c{.channels = 2, .batch = 3, .length = length, .taps = length, .batch_first = true};
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
