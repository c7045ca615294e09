// Causal convolutions of bf16 rows at the sizes that Toeplitz products take: short sequences, and filters of a few
// taps. Errors are judged by row and without the rounding of the result, which would hide anything below 2e-3.

#include <gtest/gtest.h>

#include <limits>

#include "devices.h"
#include "kernels/fft_conv.h"
#include "kernels/kernels.h"

namespace mara {
namespace {

using Values = std::vector<double>;

struct Case {
  int64_t channels, batch, length, taps;
  bool gate_in = true, gate_out = true, skip = true;
  double scale = 1, offset = 0;
};

std::string to_string(const Case& c) {
  return "D " + std::to_string(c.channels) + " B " + std::to_string(c.batch) + " L " + std::to_string(c.length) +
         " K " + std::to_string(c.taps) + (c.gate_in ? " gate_in" : "") + (c.gate_out ? " gate_out" : "") +
         (c.skip ? " skip" : "") + " scale " + std::to_string(c.scale) + " offset " + std::to_string(c.offset);
}

Values noise(int64_t count, uint32_t seed, double scale = 1, double offset = 0) {
  Values out(static_cast<size_t>(count));
  for (double& value : out) {
    seed = seed * 1664525u + 1013904223u;
    value = scale * (static_cast<double>(seed >> 8) * 0x1p-23 - 1.0 + offset);
  }
  return out;
}

// What goes in; absent arguments are undefined tensors.
struct Inputs {
  Tensor u, k, skip, gate_in, gate_out, dy;

  Inputs(const Case& c, Device device) {
    const int64_t count = c.channels * c.batch * c.length;
    const Shape rows{c.channels, c.batch, c.length};
    const auto row_data = [&](uint32_t seed, double scale) {
      return Tensor::from(noise(count, seed, scale, c.offset), rows, Dtype::bf16, device);
    };
    u = row_data(1, c.scale), dy = row_data(2, c.scale);
    if (c.gate_in) gate_in = row_data(3, 1);
    if (c.gate_out) gate_out = row_data(4, 1);
    k = Tensor::from(noise(c.channels * c.taps, 5, 0.1), {c.channels, c.taps}, Dtype::f32, device);
    if (c.skip) skip = Tensor::from(noise(c.channels, 6), {c.channels}, Dtype::f32, device);
  }
};

struct Outputs {
  Values y, du, dgate_in, dgate_out, dk, dskip;
};

Values host(const Tensor& tensor) { return tensor.defined() ? tensor.to_host() : Values(); }

Outputs run(const Inputs& in, Device device) {
  const auto like = [](const Tensor& tensor) { return tensor.defined() ? Tensor::empty_like(tensor) : Tensor(); };
  const Tensor y = like(in.u), du = like(in.u), dgate_in = like(in.gate_in), dgate_out = like(in.gate_out),
               dk = like(in.k), dskip = like(in.skip);
  const auto [table, stream] = kernels::on(device);
  table.fft_conv_forward(stream, {.u = in.u.view(),
                                  .k = in.k.view(),
                                  .skip = in.skip.view(),
                                  .gate_in = in.gate_in.view(),
                                  .gate_out = in.gate_out.view(),
                                  .y = y.view()});
  table.fft_conv_backward(stream, {.dy = in.dy.view(),
                                   .u = in.u.view(),
                                   .k = in.k.view(),
                                   .skip = in.skip.view(),
                                   .gate_in = in.gate_in.view(),
                                   .gate_out = in.gate_out.view(),
                                   .du = du.view(),
                                   .dgate_in = dgate_in.view(),
                                   .dgate_out = dgate_out.view(),
                                   .dk = dk.view(),
                                   .dskip = dskip.view()});
  return {host(y), host(du), host(dgate_in), host(dgate_out), host(dk), host(dskip)};
}

// The definition and its derivatives, in f64 on the rounded inputs; every output, wanted or not.
struct Reference {
  Outputs out;
  Values typical;  // size of an entry of dk, by channel

  Reference(const Case& c, const Inputs& in) {
    const auto ones = [&](const Tensor& gate) {
      return gate.defined() ? gate.to_host() : Values(static_cast<size_t>(in.u.numel()), 1.0);
    };
    const Values u = in.u.to_host(), dy = in.dy.to_host(), k = in.k.to_host(), skip = host(in.skip);
    const Values gate_in = ones(in.gate_in), gate_out = ones(in.gate_out);
    out.y = out.du = out.dgate_in = out.dgate_out = Values(u.size());
    out.dk.resize(k.size()), out.dskip.resize(static_cast<size_t>(c.channels));
    typical.resize(static_cast<size_t>(c.channels));
    const int64_t length = c.length;
    for (int64_t row = 0; row < c.channels * c.batch; ++row) {
      const int64_t d = row / c.batch, at = row * length;
      Values x(length), g(length), conv(length), dx(length);
      double energy = 0;
      for (int64_t l = 0; l < length; ++l) {
        x[l] = gate_in[at + l] * u[at + l], g[l] = gate_out[at + l] * dy[at + l];
        energy += x[l] * x[l] * g[l] * g[l];
        if (!skip.empty()) conv[l] = skip[d] * x[l], dx[l] = skip[d] * g[l], out.dskip[d] += g[l] * x[l];
      }
      typical[d] = std::sqrt(typical[d] * typical[d] + energy);
      for (int64_t j = 0; j < std::min(c.taps, length); ++j) {
        const double tap = k[d * c.taps + j];
        double sum = 0;
        for (int64_t l = j; l < length; ++l) {
          conv[l] += tap * x[l - j], dx[l - j] += tap * g[l], sum += g[l] * x[l - j];
        }
        out.dk[d * c.taps + j] += sum;
      }
      for (int64_t l = 0; l < length; ++l) {
        out.y[at + l] = gate_out[at + l] * conv[l], out.dgate_out[at + l] = dy[at + l] * conv[l];
        out.du[at + l] = gate_in[at + l] * dx[l], out.dgate_in[at + l] = u[at + l] * dx[l];
      }
    }
  }
};

// The largest error of a row without the rounding of its numbers to bf16. Of rows too short for the two to be
// independent in the mean, as many as are needed make one.
double row_error(const Values& got, const Values& want, int64_t length) {
  const Values rounded = Tensor::from(want, {static_cast<int64_t>(want.size())}, Dtype::bf16, Device{}).to_host();
  const size_t span = std::min(want.size(), static_cast<size_t>(length * ((1023 + length) / length)));
  double worst = 0;
  for (size_t begin = 0; begin + span <= want.size(); begin += span) {
    double error = 0, rounding = 0, norm = 0;
    for (size_t i = begin; i < begin + span; ++i) {
      error += (got[i] - want[i]) * (got[i] - want[i]);
      rounding += (rounded[i] - want[i]) * (rounded[i] - want[i]);
      norm += want[i] * want[i];
    }
    if (!std::isfinite(error)) return INFINITY;
    worst = std::max(worst, std::sqrt(std::max(0.0, error - rounding) / norm));
  }
  return worst;
}

class FftConvToeplitz : public OnDevice {
 protected:
  void expect_definition(const Case& c) {
    SCOPED_TRACE(to_string(c));
    const Inputs in(c, device());
    const Outputs got = run(in, device());
    const Reference want(c, in);
    const double limit = 1.2e-3 * (c.offset == 0 ? 1 : 4);
    EXPECT_LT(row_error(got.y, want.out.y, c.length), limit);
    EXPECT_LT(row_error(got.du, want.out.du, c.length), limit);
    if (c.gate_in) {
      EXPECT_LT(row_error(got.dgate_in, want.out.dgate_in, c.length), limit);
    }
    if (c.gate_out) {
      EXPECT_LT(row_error(got.dgate_out, want.out.dgate_out, c.length), limit);
    }
    for (int64_t d = 0; d < c.channels; ++d) {
      double error = 0, norm = 0;
      for (int64_t j = 0; j < c.taps; ++j) {
        const double entry = want.out.dk[d * c.taps + j], difference = got.dk[d * c.taps + j] - entry;
        error += difference * difference, norm += entry * entry;
      }
      const double typical = want.typical[d];
      EXPECT_LT(std::sqrt(error), limit * std::max(std::sqrt(norm), typical)) << "dk of channel " << d;
      if (c.skip) {
        EXPECT_LT(std::abs(got.dskip[d] - want.out.dskip[d]), limit * std::max(std::sqrt(norm), typical));
      }
    }
  }
};

MARA_ON_EVERY_DEVICE(FftConvToeplitz);

TEST_P(FftConvToeplitz, MatchesTheDefinition) {
  for (int64_t length : {8, 16, 120, 512, 520, 1000, 1024}) {
    for (int64_t taps : {int64_t{1}, int64_t{3}, int64_t{64}, int64_t{200}, length, length + 5}) {
      expect_definition({2, 17, length, taps});
    }
    if (length > 256) expect_definition({1, 62, length, length});  // a GPU wants tiles filled for long sequences
  }
  expect_definition({1, 62, 1024, 1024, false, false});
  expect_definition({5, 1, 256, 256});
  expect_definition({1, 65, 136, 100});
}

TEST_P(FftConvToeplitz, FewTapsOnLongSequences) {
  for (int64_t taps : {1, 3, 16, 17, 64, 200, 256}) expect_definition({2, 3, 5000, taps, taps != 17, taps != 64});
  expect_definition({1, 17, 1032, 256});
}

// More than a GPU has room for, so that a block goes from tile to tile, in a channel and on to the next. A CPU knows no
// such blocks.
TEST_P(FftConvToeplitz, BlocksTakeManyTiles) {
  if (device().type == DeviceType::cpu) GTEST_SKIP();
  for (bool gated : {false, true}) {
    expect_definition({300, 2, 256, 256, gated, gated});
    expect_definition({300, 1, 1040, 200, gated, gated});
    expect_definition({2, 64 * 140 + 3, 600, 5, gated, gated});
  }
}

TEST_P(FftConvToeplitz, EveryCombinationOfGates) {
  for (int gates = 0; gates < 8; ++gates) {
    expect_definition({1, 62, 400, 300, (gates & 1) != 0, (gates & 2) != 0, (gates & 4) != 0});
  }
}

TEST_P(FftConvToeplitz, KeepsAccuracyAtAnyScale) {
  for (double scale : {1e-6, 1e-3, 3e3}) {
    expect_definition({2, 17, 1024, 1024, true, true, true, scale});
    expect_definition({2, 3, 2048, 256, true, true, true, scale});
  }
  expect_definition({2, 17, 1024, 1024, false, false, true, 0.1, 10});
  expect_definition({2, 17, 512, 512, true, true, true, 0.1, 10});
}

// Any output alone has the same bits as with the others, and so has another run.
TEST_P(FftConvToeplitz, OutputsAreIndependent) {
  for (const auto& [length, taps] : {std::pair(200, 200), std::pair(1024, 1024), std::pair(3000, 100)}) {
    const Inputs in({2, 17, length, taps}, device());
    const Outputs want = run(in, device()), again = run(in, device());
    EXPECT_EQ(again.y, want.y);
    const auto [table, stream] = kernels::on(device());
    const kernels::FftConvBackward bare{.dy = in.dy.view(),
                                        .u = in.u.view(),
                                        .k = in.k.view(),
                                        .skip = in.skip.view(),
                                        .gate_in = in.gate_in.view(),
                                        .gate_out = in.gate_out.view()};
    const auto expect_alone = [&](View kernels::FftConvBackward::*slot, const Tensor& like, const Values& values) {
      const Tensor out = Tensor::empty_like(like);
      kernels::FftConvBackward args = bare;
      args.*slot = out.view();
      table.fft_conv_backward(stream, args);
      EXPECT_EQ(out.to_host(), values) << "L " << length;
    };
    expect_alone(&kernels::FftConvBackward::du, in.u, want.du);
    expect_alone(&kernels::FftConvBackward::dgate_in, in.u, want.dgate_in);
    expect_alone(&kernels::FftConvBackward::dgate_out, in.u, want.dgate_out);
    expect_alone(&kernels::FftConvBackward::dk, in.k, want.dk);
    // Alone it is the sum over one lag, which the CPU takes in another order.
    const Tensor dskip = Tensor::empty_like(in.skip);
    kernels::FftConvBackward args = bare;
    args.dskip = dskip.view();
    table.fft_conv_backward(stream, args);
    EXPECT_LT(relative_error(dskip.to_host(), want.dskip), 1e-5);

    const Tensor dk = Tensor::from(Values(2 * taps, 1.5), {2, taps}, Dtype::f32, device());
    const Tensor added = Tensor::from(Values{2.5, -3.5}, {2}, Dtype::f32, device());
    args.dk = dk.view(), args.dskip = added.view();
    args.accumulate_k = args.accumulate_skip = true;
    table.fft_conv_backward(stream, args);
    Values sums = want.dk;
    for (double& value : sums) value += 1.5;
    EXPECT_LT(relative_error(dk.to_host(), sums), 1e-6);
    EXPECT_LT(relative_error(added.to_host(), {want.dskip[0] + 2.5, want.dskip[1] - 3.5}), 1e-6);
  }
}

// A row that is not finite spoils its own results and its channel's sums; all others keep their bits.
TEST_P(FftConvToeplitz, NotANumberStaysInItsRow) {
  for (const auto& [length, taps] : {std::pair(64, 64), std::pair(1024, 1024), std::pair(3000, 256)}) {
    const Case c{2, 17, length, taps};
    Inputs in(c, device());
    const Outputs clean = run(in, device());
    const int64_t bad = 3;
    Values u = in.u.to_host();
    u[bad * length + length / 2] = std::numeric_limits<double>::quiet_NaN();
    in.u = Tensor::from(u, {2, 17, length}, Dtype::bf16, device());
    const Outputs spoilt = run(in, device());
    const auto unchanged = [&, length = length](const Values& before, const Values& after, int64_t row) {
      return std::equal(before.begin() + row * length, before.begin() + (row + 1) * length,
                        after.begin() + row * length);
    };
    for (int64_t row = 0; row < 34; ++row) {
      EXPECT_EQ(unchanged(clean.y, spoilt.y, row), row != bad) << "L " << length << " row " << row;
      EXPECT_EQ(unchanged(clean.dgate_out, spoilt.dgate_out, row), row != bad);
      EXPECT_EQ(unchanged(clean.dgate_in, spoilt.dgate_in, row), row != bad);
      EXPECT_TRUE(unchanged(clean.du, spoilt.du, row));
    }
    EXPECT_TRUE(std::isnan(spoilt.dk[0]));
    EXPECT_TRUE(std::equal(clean.dk.begin() + taps, clean.dk.end(), spoilt.dk.begin() + taps));
  }
}

// u and its gates as parts of one (B, 3, D, pitch) tensor, the gaps of which stay as they are.
TEST_P(FftConvToeplitz, TakesStridedRows) {
  const auto [table, stream] = kernels::on(device());
  constexpr int64_t kBatch = 17;
  for (int64_t length : {40, 1024, 1304}) {
    const Case c{3, kBatch, length, std::min<int64_t>(length, 200)};
    const Inputs in(c, device());
    const Outputs want = run(in, device());
    const int64_t pitch = length + 8, part = 3 * pitch;
    const auto place = [&](int which, int64_t i) {
      const int64_t row = i / length;
      return (row % kBatch * 3 + which) * part + row / kBatch * pitch + i % length;
    };
    Values packed(kBatch * 3 * part, -7.0);
    const Tensor* const sources[] = {&in.u, &in.gate_in, &in.gate_out};
    for (int which = 0; which < 3; ++which) {
      const Values from = sources[which]->to_host();
      for (size_t i = 0; i < from.size(); ++i) packed[place(which, static_cast<int64_t>(i))] = from[i];
    }
    const Shape all{kBatch, 3, 3, pitch}, rows{3, kBatch, length};
    const Tensor given = Tensor::from(packed, all, Dtype::bf16, device());
    const Tensor out = Tensor::from(Values(packed.size(), -7.0), all, Dtype::bf16, device());
    const auto pick = [&](const Tensor& from, int which) {
      return from.strided(rows, {pitch, 3 * part, 1}, which * part).view();
    };
    table.fft_conv_backward(stream, {.dy = in.dy.view(),
                                     .u = pick(given, 0),
                                     .k = in.k.view(),
                                     .skip = in.skip.view(),
                                     .gate_in = pick(given, 1),
                                     .gate_out = pick(given, 2),
                                     .du = pick(out, 0),
                                     .dgate_in = pick(out, 1),
                                     .dgate_out = pick(out, 2)});
    Values expected(packed.size(), -7.0);
    const Values* const results[] = {&want.du, &want.dgate_in, &want.dgate_out};
    for (int which = 0; which < 3; ++which) {
      for (size_t i = 0; i < want.du.size(); ++i)
        expected[place(which, static_cast<int64_t>(i))] = (*results[which])[i];
    }
    EXPECT_EQ(out.to_host(), expected) << "L " << length;
    const Tensor y = Tensor::from(Values(packed.size(), -7.0), all, Dtype::bf16, device());
    table.fft_conv_forward(stream, {.u = pick(given, 0),
                                    .k = in.k.view(),
                                    .skip = in.skip.view(),
                                    .gate_in = pick(given, 1),
                                    .gate_out = pick(given, 2),
                                    .y = pick(y, 0)});
    Values forward(packed.size(), -7.0);
    for (size_t i = 0; i < want.y.size(); ++i) forward[place(0, static_cast<int64_t>(i))] = want.y[i];
    EXPECT_EQ(y.to_host(), forward) << "L " << length;
  }
}

}  // namespace
}  // namespace mara
