#pragma once
// Data of long convolutions in bf16, and how far results may be from exact ones: what tests of the ways to go share.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/tensor.h"
#include "kernels/fft_conv.h"
#include "kernels/kernels.h"

namespace mara {

using Values = std::vector<double>;

/// Rows channel-major, filters by channel; rounded to what they are stored in. Empty where there is none.
struct ConvData {
  Values u, gate_in, gate_out, dy, k, k_reverse, skip;
};
struct ConvResults {
  Values y, du, dgate_in, dgate_out, dk, dk_reverse, dskip;
};

/// offset +- size, as `dtype` rounds it.
inline Values noise(int64_t count, uint32_t seed, double size, double offset, Dtype dtype) {
  Values out(static_cast<size_t>(count));
  for (double& value : out) {
    seed = seed * 1664525u + 1013904223u;
    value = offset + size * (static_cast<double>(seed >> 8) * 0x1p-23 - 1.0);
  }
  return count == 0 ? out : Tensor::from(out, {count}, dtype, kCpu).to_host();
}
/// Taps (channels, taps) that fall to a fiftieth, as f32 rounds them.
inline Values decaying(int64_t channels, int64_t taps, uint32_t seed) {
  Values out = noise(channels * taps, seed, 1, 0, Dtype::f64);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] *= std::exp(-4.0 * static_cast<double>(i % static_cast<size_t>(taps)) / static_cast<double>(taps));
  }
  return out.empty() ? out : Tensor::from(out, {channels * taps}, Dtype::f32, kCpu).to_host();
}

/// The largest error of a row, relative to its norm, without what rounding exact values to the dtype would leave.
inline double worst_row(const Values& got, const Values& want, int64_t length, Dtype dtype) {
  EXPECT_EQ(got.size(), want.size());
  if (want.empty()) return 0;
  const Values rounded = Tensor::from(want, {static_cast<int64_t>(want.size())}, dtype, kCpu).to_host();
  double worst = 0;
  for (size_t row = 0; row < want.size(); row += static_cast<size_t>(length)) {
    double error = 0, rounding = 0, norm = 0;
    for (size_t i = row; i < row + static_cast<size_t>(length); ++i) {
      if (!std::isfinite(got[i])) return std::numeric_limits<double>::infinity();
      error += (got[i] - want[i]) * (got[i] - want[i]);
      rounding += (rounded[i] - want[i]) * (rounded[i] - want[i]);
      norm += want[i] * want[i];
    }
    worst = std::max(worst, std::sqrt(std::max(0.0, error - rounding) / norm));
  }
  return worst;
}

/// A call of both directions, bf16 data against f64.
struct ConvCase {
  int64_t channels = 1, batch = 1, length = 0, taps = 0;
  bool gate_in = true, gate_out = true;
  double u_size = 1, u_offset = 0, dy_size = 1, outlier = 0;
  int64_t gap = 0, base = 0;  // elements between rows and before the first one
  bool batch_first = false;   // rows are parts of one (B, 3, D, L + gap) tensor, as where there is a gap
  bool accumulate = false;    // gradients of filters and skip, to 1.5
  int64_t reverse = 0;        // taps of the reverse filter
  kernels::ConvForm form = kernels::ConvForm::causal;
};

inline std::string to_string(const ConvCase& c) {
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
                       c.accumulate ? " accumulate" : "",
                       c.form == kernels::ConvForm::circular ? " circular" : ""});
}

inline ConvData make_data(const ConvCase& c) {
  const int64_t count = c.channels * c.batch * c.length;
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

/// Runs both directions in a dtype.
inline ConvResults run(const ConvCase& c, const ConvData& data, Dtype dtype, Device device) {
  const Dtype wide = compute_dtype(dtype);
  const Shape rows{c.channels, c.batch, c.length};
  const int64_t pitch = c.length + c.gap, part = c.channels * pitch;
  const bool batch_first = c.batch_first || c.gap > 0;
  // Tensors of which each holds up to three of the rows' arguments, and where they find them.
  const auto place = [&](const Tensor& from, int which) {
    return batch_first ? from.strided(rows, {pitch, 3 * part, 1}, c.base + which * part)
                       : from.strided(rows, {c.batch * c.length, c.length, 1}, c.base + which * rows.numel());
  };
  const int64_t total = c.base + 3 * c.batch * part;
  const auto index = [&](int which, int64_t d, int64_t b) {
    return c.base +
           (batch_first ? (b * 3 + which) * part + d * pitch : ((which * c.channels + d) * c.batch + b) * c.length);
  };
  const auto pack = [&](std::initializer_list<const Values*> all) {
    Values packed(static_cast<size_t>(total), std::numeric_limits<double>::quiet_NaN());  // never read where it stays
    int which = 0;
    for (const Values* values : all) {
      for (int64_t row = 0; row < c.channels * c.batch && !values->empty(); ++row) {
        std::copy_n(values->begin() + row * c.length, c.length,
                    packed.begin() + index(which, row / c.batch, row % c.batch));
      }
      ++which;
    }
    return Tensor::from(packed, {total}, dtype, device);
  };
  const auto unpack = [&](const Tensor& from, int which) {
    const Values packed = from.to_host();
    Values values(static_cast<size_t>(rows.numel()));
    for (int64_t row = 0; row < c.channels * c.batch; ++row) {
      std::copy_n(packed.begin() + index(which, row / c.batch, row % c.batch), c.length,
                  values.begin() + row * c.length);
    }
    return values;
  };
  const Tensor in = pack({&data.u, &data.gate_in, &data.gate_out}), dy = pack({&data.dy});
  const Tensor out = pack({}), gradients = pack({});  // NaN where nothing is written
  const Tensor k = Tensor::from(data.k, {c.channels, c.taps}, wide, device);
  const Tensor skip = Tensor::from(data.skip, {c.channels}, wide, device);
  const double before = c.accumulate ? 1.5 : std::numeric_limits<double>::quiet_NaN();
  const Tensor dk = Tensor::from(Values(data.k.size(), before), {c.channels, c.taps}, wide, device);
  const Tensor dskip = Tensor::from(Values(data.skip.size(), before), {c.channels}, wide, device);
  Tensor k_reverse, dk_reverse;
  if (c.reverse > 0) {
    k_reverse = Tensor::from(data.k_reverse, {c.channels, c.reverse}, wide, device);
    dk_reverse = Tensor::from(Values(data.k_reverse.size(), before), {c.channels, c.reverse}, wide, device);
  }
  const View gate_in = c.gate_in ? place(in, 1).view() : View(), gate_out = c.gate_out ? place(in, 2).view() : View();
  const auto [table, stream] = kernels::on(device);
  table.fft_conv_forward(stream, {.u = place(in, 0).view(),
                                  .k = k.view(),
                                  .k_reverse = k_reverse.view(),
                                  .skip = skip.view(),
                                  .gate_in = gate_in,
                                  .gate_out = gate_out,
                                  .y = place(out, 0).view(),
                                  .form = c.form});
  table.fft_conv_backward(stream, {.dy = place(dy, 0).view(),
                                   .u = place(in, 0).view(),
                                   .k = k.view(),
                                   .k_reverse = k_reverse.view(),
                                   .skip = skip.view(),
                                   .gate_in = gate_in,
                                   .gate_out = gate_out,
                                   .du = place(gradients, 0).view(),
                                   .dgate_in = c.gate_in ? place(gradients, 1).view() : View(),
                                   .dgate_out = c.gate_out ? place(gradients, 2).view() : View(),
                                   .dk = dk.view(),
                                   .dk_reverse = dk_reverse.view(),
                                   .dskip = dskip.view(),
                                   .accumulate_k = c.accumulate,
                                   .accumulate_k_reverse = c.accumulate,
                                   .accumulate_skip = c.accumulate,
                                   .form = c.form});
  ConvResults results{.y = unpack(out, 0), .du = unpack(gradients, 0), .dk = dk.to_host(), .dskip = dskip.to_host()};
  if (c.gate_in) results.dgate_in = unpack(gradients, 1);
  if (c.gate_out) results.dgate_out = unpack(gradients, 2);
  if (c.reverse > 0) results.dk_reverse = dk_reverse.to_host();
  return results;
}

/// Root of the mean square.
inline double rms(const Values& values) {
  double sum = 0;
  for (double value : values) sum += value * value;
  return std::sqrt(sum / std::max(1.0, static_cast<double>(values.size())));
}

/// A device's results in bf16 are those of f64 on a CPU.
inline void expect_near_f64(const ConvCase& c, Device device, double bound) {
  SCOPED_TRACE(to_string(c));
  const ConvData data = make_data(c);
  const ConvResults got = run(c, data, Dtype::bf16, device), want = run(c, data, Dtype::f64, kCpu);
  EXPECT_LT(worst_row(got.y, want.y, c.length, Dtype::bf16), bound);
  EXPECT_LT(worst_row(got.du, want.du, c.length, Dtype::bf16), bound);
  EXPECT_LT(worst_row(got.dgate_in, want.dgate_in, c.length, Dtype::bf16), bound);
  EXPECT_LT(worst_row(got.dgate_out, want.dgate_out, c.length, Dtype::bf16), bound);
  EXPECT_LT(worst_row(got.dk, want.dk, c.taps, Dtype::f64), bound);
  EXPECT_LT(worst_row(got.dk_reverse, want.dk_reverse, c.reverse, Dtype::f64), bound);
  // One number of a channel: judged by the size of dk's, of which it is one, and its own.
  const double typical = rms(want.dk);
  for (size_t d = 0; d < want.dskip.size(); ++d) {
    EXPECT_NEAR(got.dskip[d], want.dskip[d], bound * (8 * typical + std::abs(want.dskip[d])));
  }
}

}  // namespace mara
