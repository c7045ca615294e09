#include "devices.h"
#include "kernels/kernels.h"
#include "kernels/threads.h"

namespace mara {
namespace {

struct Sizes {
  int64_t batch, length, heads, width;
  bool causal = true;

  int64_t part() const { return heads * width; }
  Shape packed() const { return {batch, length, 3 * part()}; }
  Shape output() const { return {batch, length, part()}; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(width)); }
};

struct Result {
  std::vector<double> o, lse, dqkv;
};

class AttentionTest : public OnDevice {
 protected:
  /// f64 where the device has it.
  Dtype widest() const { return device().type == DeviceType::cuda ? Dtype::f32 : Dtype::f64; }

  Result run(const Sizes& s, const std::vector<double>& qkv, const std::vector<double>& d_o, Dtype dtype) const {
    const Tensor x = Tensor::from(qkv, s.packed(), dtype, device());
    const Tensor g = Tensor::from(d_o, s.output(), dtype, device());
    const Tensor o = Tensor::empty_like(g), dx = Tensor::empty_like(x);
    const Tensor lse = Tensor::empty({s.batch, s.heads, s.length}, compute_dtype(dtype), device());
    auto [k, stream] = kernels::on(device());
    k.attention_forward(stream, {x.view(), o.view(), lse.view(), s.heads, s.scale(), s.causal});
    k.attention_backward(stream, {g.view(), x.view(), o.view(), lse.view(), dx.view(), s.heads, s.scale(), s.causal});
    return {o.to_host(), lse.to_host(), dx.to_host()};
  }
};

std::vector<double> packed_wave(const Sizes& s) { return wave(s.packed().numel(), 0.1, 2.0); }
std::vector<double> output_wave(const Sizes& s) { return wave(s.output().numel(), 0.4); }

// Softmax of the whole (L, L) matrix, and its gradients through the Jacobian of the softmax.
Result reference(const Sizes& s, const std::vector<double>& qkv, const std::vector<double>& d_o) {
  Result r{std::vector<double>(d_o.size()), {}, std::vector<double>(qkv.size())};
  const auto at = [&](int64_t b, int64_t l, int part, int64_t h, int64_t c) {
    return static_cast<size_t>(((b * s.length + l) * 3 + part) * s.part() + h * s.width + c);
  };
  const auto out = [&](int64_t b, int64_t l, int64_t h, int64_t c) {
    return static_cast<size_t>((b * s.length + l) * s.part() + h * s.width + c);
  };
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < s.heads; ++h) {
      for (int64_t i = 0; i < s.length; ++i) {
        const int64_t keys = s.causal ? i + 1 : s.length;
        std::vector<double> p(static_cast<size_t>(keys)), dp(p.size());
        double sum = 0, dot = 0;
        for (int64_t j = 0; j < keys; ++j) {
          double score = 0;
          for (int64_t c = 0; c < s.width; ++c) score += qkv[at(b, i, 0, h, c)] * qkv[at(b, j, 1, h, c)];
          sum += p[static_cast<size_t>(j)] = std::exp(s.scale() * score);
        }
        r.lse.push_back(std::log(sum));
        for (int64_t j = 0; j < keys; ++j) {
          double& probability = p[static_cast<size_t>(j)];
          probability /= sum;
          for (int64_t c = 0; c < s.width; ++c) {
            r.o[out(b, i, h, c)] += probability * qkv[at(b, j, 2, h, c)];
            r.dqkv[at(b, j, 2, h, c)] += probability * d_o[out(b, i, h, c)];
            dp[static_cast<size_t>(j)] += d_o[out(b, i, h, c)] * qkv[at(b, j, 2, h, c)];
          }
          dot += probability * dp[static_cast<size_t>(j)];
        }
        for (int64_t j = 0; j < keys; ++j) {
          const double ds = s.scale() * p[static_cast<size_t>(j)] * (dp[static_cast<size_t>(j)] - dot);
          for (int64_t c = 0; c < s.width; ++c) {
            r.dqkv[at(b, i, 0, h, c)] += ds * qkv[at(b, j, 1, h, c)];
            r.dqkv[at(b, j, 1, h, c)] += ds * qkv[at(b, i, 0, h, c)];
          }
        }
      }
    }
  }
  return r;
}

TEST_P(AttentionTest, MatchesTheWholeMatrix) {
  for (const bool causal : {true, false}) {
    for (const int64_t length : {1, 2, 17, 64, 65, 130, 300}) {
      for (const auto& [batch, heads, width] : {std::array{2, 3, 5}, {1, 1, 16}}) {
        Sizes s{batch, length, heads, width, causal};
        const std::vector<double> qkv = packed_wave(s), d_o = output_wave(s);
        const Result computed = run(s, qkv, d_o, widest()), expected = reference(s, qkv, d_o);
        EXPECT_LT(relative_error(computed.o, expected.o), tolerance(widest())) << length << causal;
        EXPECT_LT(relative_error(computed.lse, expected.lse), tolerance(widest())) << length << causal;
        EXPECT_LT(relative_error(computed.dqkv, expected.dqkv), tolerance(widest())) << length << causal;
        if (length > 1) {  // control
          s.causal = !causal;
          const Result other = reference(s, qkv, d_o);
          EXPECT_GT(relative_error(computed.o, other.o), 1e-3);
          EXPECT_GT(relative_error(computed.lse, other.lse), 1e-3);
          EXPECT_GT(relative_error(computed.dqkv, other.dqkv), 1e-3);
        }
      }
    }
  }
}

TEST_P(AttentionTest, InF32AndBf16) {
  // Lengths on both sides of a tile and of several, head sizes that fill a tile, that do not, and that exceed all.
  const std::vector<Sizes> cases = {{3, 22, 2, 32},  {3, 150, 2, 32}, {1, 257, 2, 64},  {2, 384, 1, 64}, {1, 65, 3, 40},
                                    {1, 200, 2, 80}, {1, 130, 1, 96}, {1, 257, 1, 128}, {2, 70, 1, 130}, {1, 90, 2, 5}};
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    for (Sizes s : cases) {
      for (const bool causal : {true, false}) {
        s.causal = causal;
        const Tensor qkv = Tensor::from(packed_wave(s), s.packed(), dtype, device());
        const Tensor d_o = Tensor::from(output_wave(s), s.output(), dtype, device());
        const Result computed = run(s, qkv.to_host(), d_o.to_host(), dtype);
        const Result expected = reference(s, qkv.to_host(), d_o.to_host());
        EXPECT_LT(relative_error(computed.o, expected.o), tolerance(dtype)) << s.length << ' ' << s.width << causal;
        EXPECT_LT(relative_error(computed.lse, expected.lse), tolerance(Dtype::f32)) << s.length << ' ' << s.width;
        EXPECT_LT(relative_error(computed.dqkv, expected.dqkv), tolerance(dtype))
            << s.length << ' ' << s.width << causal;
      }
    }
  }
}

// Scores of several thousands: only their differences from the row's maximum may be exponentiated.
TEST_P(AttentionTest, HugeScores) {
  const Sizes s{1, 200, 1, 8};
  const std::vector<double> qkv = wave(s.packed().numel(), 0.1, 100.0), d_o = output_wave(s);
  const Result r = run(s, qkv, d_o, Dtype::f32);
  for (const auto& values : {r.o, r.lse, r.dqkv}) {
    for (const double value : values) ASSERT_TRUE(std::isfinite(value));
  }
  EXPECT_GT(*std::max_element(r.lse.begin(), r.lse.end()), 1000);
}

// Keys and values from position 70 on change: what stands before must not, to the last bit.
TEST_P(AttentionTest, CausalFormLooksBackOnly) {
  for (const bool causal : {true, false}) {
    const Sizes s{1, 150, 2, 16, causal};
    constexpr int64_t kFrom = 70;
    const std::vector<double> before = packed_wave(s);
    std::vector<double> after = before;
    for (size_t i = static_cast<size_t>(kFrom * 3 * s.part()); i < after.size(); ++i) after[i] = 1 - after[i];
    const std::vector<double> o = run(s, before, output_wave(s), widest()).o;
    const std::vector<double> changed = run(s, after, output_wave(s), widest()).o;
    const bool same = std::equal(o.begin(), o.begin() + kFrom * s.part(), changed.begin());
    EXPECT_EQ(same, causal);  // the full form is the control
    EXPECT_NE(o, changed);
  }
}

// Attention core of the Parcae specification: 3 positions, one head of width 2.
TEST_P(AttentionTest, Parcae_16_5) {
  const Sizes s{1, 3, 1, 2};
  const std::vector<double> qkv = {1, 0, 1, 1, 1, 0, /**/ 0, 1, 0, 2, 0, 1, /**/ 1, 1, -1, 1, 2, 2};
  const Result r = run(s, qkv, {1, 0, 0, 1, 1, -1}, widest());
  const std::vector<double> lse = {0.707106781, 1.815047089, 2.222079860};
  const std::vector<double> o = {1, 0, 0.330238451, 0.669761549, 0.662575178, 0.662575178};
  const std::vector<double> dqkv = {0,
                                    0,
                                    0.315234054,
                                    0.158835457,
                                    1.445808274,
                                    -0.115569823,
                                    -0.156398597,
                                    0.156398597,
                                    -0.315234054,
                                    -0.158835457,
                                    0.445808274,
                                    0.223953275,
                                    0.315234054,
                                    -0.315234054,
                                    0,
                                    0,
                                    0.108383452,
                                    -0.108383452};
  const double error = widest() == Dtype::f64 ? 6e-10 : 1e-6;
  const auto expect_near = [error](const std::vector<double>& a, const std::vector<double>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], error) << i;
  };
  expect_near(r.lse, lse);
  expect_near(r.o, o);
  expect_near(r.dqkv, dqkv);
}

TEST_P(AttentionTest, SameBitsForAnyThreadCount) {
  const Sizes s{3, 140, 3, 16};
  expect_same_bits_for_any_thread_count([&] {
    const Result r = run(s, packed_wave(s), output_wave(s), Dtype::f32);
    return concatenate({r.o, r.lse, r.dqkv});
  });
}

MARA_ON_EVERY_DEVICE(AttentionTest);

}  // namespace
}  // namespace mara
