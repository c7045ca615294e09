#include "devices.h"
#include "kernels/compare.h"
#include "kernels/kernels.h"
#include "kernels/threads.h"

namespace mara {
namespace {

using kernels::kIgnoredTarget;

struct Result {
  std::vector<double> loss, dx, dw;
  std::vector<int32_t> predictions;
  double count = 0;

  std::vector<double> all() const {
    return concatenate({loss, dx, dw, {predictions.begin(), predictions.end()}, {count}});
  }
};

class LossTest : public OnDevice {
 protected:
  Tensor tensor(const std::vector<double>& values, const Shape& shape, Dtype dtype) const {
    return Tensor::from(values, shape, dtype, device());
  }
  // Outputs start as NaN, so that what is not written shows.
  Tensor output(const Shape& shape, Dtype dtype) const {
    return tensor(std::vector<double>(static_cast<size_t>(shape.numel()), std::nan("")), shape, dtype);
  }
  Result run(const Tensor& x, const Tensor& w, const std::vector<int32_t>& targets, bool wants_dx = true,
             bool wants_dw = true) const {
    const int64_t tokens = x.size(0);
    const Dtype compute = compute_dtype(x.dtype());
    const Tensor target = Tensor::from(targets, {tokens}, device());
    const Tensor loss = output({tokens}, compute), count = output({1}, compute);
    const Tensor predictions = Tensor::empty({tokens}, Dtype::i32, device());
    const Tensor dx = wants_dx ? output(x.shape(), x.dtype()) : Tensor();
    const Tensor dw = wants_dw ? output(w.shape(), compute) : Tensor();
    auto [k, stream] = kernels::on(device());
    k.linear_cross_entropy(stream, {x.view(), w.view(), target.view(), loss.view(), count.view(), predictions.view(),
                                    dx.view(), dw.view()});
    return {loss.to_host(), wants_dx ? dx.to_host() : std::vector<double>(),
            wants_dw ? dw.to_host() : std::vector<double>(), predictions.to_host_i32(), count.item()};
  }
};

// Dense softmax of the whole (N, V) matrix.
Result reference(const std::vector<double>& x, const std::vector<double>& w, const std::vector<int32_t>& targets,
                 size_t width) {
  const size_t tokens = targets.size(), vocabulary = w.size() / width;
  Result r{std::vector<double>(tokens), std::vector<double>(x.size()), std::vector<double>(w.size()),
           std::vector<int32_t>(tokens), 0};
  for (size_t i = 0; i < tokens; ++i) {
    std::vector<double> logits(vocabulary);
    for (size_t v = 0; v < vocabulary; ++v) {
      for (size_t d = 0; d < width; ++d) logits[v] += x[i * width + d] * w[v * width + d];
    }
    const auto largest = std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit - *largest);
    r.predictions[i] = static_cast<int32_t>(largest - logits.begin());
    if (targets[i] == kIgnoredTarget) continue;
    ++r.count;
    r.loss[i] = std::log(sum) + *largest - logits[static_cast<size_t>(targets[i])];
    for (size_t v = 0; v < vocabulary; ++v) {
      const double g = std::exp(logits[v] - *largest) / sum - (static_cast<int32_t>(v) == targets[i] ? 1 : 0);
      for (size_t d = 0; d < width; ++d) {
        r.dx[i * width + d] += g * w[v * width + d];
        r.dw[v * width + d] += g * x[i * width + d];
      }
    }
  }
  return r;
}

std::vector<int32_t> some_targets(int64_t tokens, int64_t vocabulary) {
  std::vector<int32_t> targets;
  for (int64_t i = 0; i < tokens; ++i) {
    targets.push_back(i % 4 == 1 ? kIgnoredTarget : static_cast<int32_t>((7919 * i + 3) % vocabulary));
  }
  return targets;
}

TEST_P(LossTest, MatchesDenseSoftmax) {
  for (const Dtype dtype : floating_dtypes(device())) {
    // The last has more tokens than one chunk.
    for (const auto& [tokens, width, vocabulary] :
         {std::array{1, 1, 1}, {5, 3, 7}, {33, 17, 65}, {130, 64, 10}, {4100, 3, 5}}) {
      const Tensor x = tensor(wave(tokens * width, 0.1), {tokens, width}, dtype);
      const Tensor w = tensor(wave(vocabulary * width, 0.9), {vocabulary, width}, dtype);
      const std::vector<int32_t> targets = some_targets(tokens, vocabulary);
      const Result computed = run(x, w, targets);
      const Result expected = reference(x.to_host(), w.to_host(), targets, static_cast<size_t>(width));
      EXPECT_LT(relative_error(computed.loss, expected.loss), tolerance(compute_dtype(dtype)));
      EXPECT_EQ(computed.predictions, expected.predictions);
      EXPECT_EQ(computed.count, expected.count);
      // With one class both are zero.
      EXPECT_LT(relative_error(computed.dx, expected.dx), tolerance(dtype)) << tokens << to_string(dtype);
      EXPECT_LT(relative_error(computed.dw, expected.dw), tolerance(dtype)) << tokens << to_string(dtype);
      if (vocabulary > 1) {  // control: another target is another loss and gradient
        std::vector<int32_t> others = targets;
        others[0] = (others[0] + 1) % vocabulary;
        const Result other = reference(x.to_host(), w.to_host(), others, static_cast<size_t>(width));
        EXPECT_GT(relative_error(computed.loss, other.loss), tolerance(compute_dtype(dtype)));
        EXPECT_GT(relative_error(computed.dx, other.dx), tolerance(dtype));
        EXPECT_GT(relative_error(computed.dw, other.dw), tolerance(dtype) / 100);
      }
    }
  }
}

// Rows that a GPU works through a few at a time, keeps on chip in part, or whole. Logits grow along a row, so that what
// is kept is less one maximum after the other. Too much for a CPU under test.
TEST_P(LossTest, LargeVocabularies) {
  if (device().type != DeviceType::cuda) return;
  for (const auto& [dtype, tokens, vocabulary] : {std::tuple{Dtype::f32, 300, 1 << 20},
                                                  {Dtype::bf16, 70, 1 << 18},
                                                  {Dtype::bf16, 70, 50305},
                                                  {Dtype::bf16, 70, 5001}}) {
    const int64_t width = 2;
    std::vector<double> growing = wave(vocabulary * width, 0.9);
    for (size_t i = 0; i < growing.size(); ++i) growing[i] *= 4 * static_cast<double>(i) / (vocabulary * width);
    const Tensor x = tensor(wave(tokens * width, 0.1), {tokens, width}, dtype);
    const Tensor w = tensor(growing, {vocabulary, width}, dtype);
    const std::vector<int32_t> targets = some_targets(tokens, vocabulary);
    const Result computed = run(x, w, targets);
    const Result expected = reference(x.to_host(), w.to_host(), targets, static_cast<size_t>(width));
    EXPECT_LT(relative_error(computed.loss, expected.loss), tolerance(Dtype::f32)) << vocabulary;
    EXPECT_LT(relative_error(computed.dx, expected.dx), tolerance(dtype)) << vocabulary;
    EXPECT_LT(relative_error(computed.dw, expected.dw), tolerance(dtype)) << vocabulary;
    // So many logits have neighbours that rounding may put above them.
    const std::vector<double> xs = x.to_host(), ws = w.to_host();
    for (size_t i = 0; i < targets.size(); ++i) {
      const auto logit = [&](int32_t v) {
        const size_t at = static_cast<size_t>(v) * 2;
        return xs[2 * i] * ws[at] + xs[2 * i + 1] * ws[at + 1];
      };
      EXPECT_NEAR(logit(computed.predictions[i]), logit(expected.predictions[i]), 1e-5) << vocabulary;
    }
  }
}

TEST_P(LossTest, GradientsAreCentralDifferences) {
  if (widest(device()) != Dtype::f64) return;
  const int64_t tokens = 6, width = 4, vocabulary = 9;
  const std::vector<int32_t> targets = some_targets(tokens, vocabulary);
  const std::vector<double> x = wave(tokens * width, 0.1), w = wave(vocabulary * width, 0.9);
  const auto total = [&](const std::vector<double>& xs, const std::vector<double>& ws) {
    const Result r = run(tensor(xs, {tokens, width}, Dtype::f64), tensor(ws, {vocabulary, width}, Dtype::f64), targets,
                         false, false);
    double sum = 0;
    for (const double loss : r.loss) sum += loss;
    return sum;
  };
  const Result r = run(tensor(x, {tokens, width}, Dtype::f64), tensor(w, {vocabulary, width}, Dtype::f64), targets);
  constexpr double kStep = 1e-5;
  for (size_t i = 0; i < x.size(); ++i) {
    std::vector<double> up = x, down = x;
    up[i] += kStep, down[i] -= kStep;
    EXPECT_NEAR(r.dx[i], (total(up, w) - total(down, w)) / (2 * kStep), 1e-9);
  }
  for (size_t i = 0; i < w.size(); ++i) {
    std::vector<double> up = w, down = w;
    up[i] += kStep, down[i] -= kStep;
    EXPECT_NEAR(r.dw[i], (total(x, up) - total(x, down)) / (2 * kStep), 1e-9);
  }
}

TEST_P(LossTest, NothingToLearnFromIgnoredTargets) {
  const Tensor x = tensor(wave(12 * 8, 0.1), {12, 8}, Dtype::f32), w = tensor(wave(5 * 8, 0.9), {5, 8}, Dtype::f32);
  const Result r = run(x, w, std::vector<int32_t>(12, kIgnoredTarget));
  EXPECT_EQ(r.count, 0);
  for (const auto& zeros : {r.loss, r.dx, r.dw}) EXPECT_EQ(zeros, std::vector<double>(zeros.size(), 0.0));
  EXPECT_NE(r.predictions, std::vector<int32_t>(12, 0));
}

TEST_P(LossTest, NothingToLearnFromNoTokens) {
  for (const Dtype dtype : floating_dtypes(device())) {
    const Tensor x = tensor({}, {0, 8}, dtype), w = tensor(wave(5 * 8, 0.9), {5, 8}, dtype);
    const Result r = run(x, w, {});
    EXPECT_EQ(r.count, 0);
    EXPECT_EQ(r.dw, std::vector<double>(5 * 8, 0.0));
  }
}

TEST_P(LossTest, RefusesF64OnAGpu) {
  if (device().type != DeviceType::cuda) return;
  const Tensor x = tensor(wave(2 * 8, 0.1), {2, 8}, Dtype::f64), w = tensor(wave(5 * 8, 0.9), {5, 8}, Dtype::f64);
  EXPECT_THROW(run(x, w, {0, 1}), Error);
}

TEST_P(LossTest, StableForHugeLogitsAndFirstOfEqualPredictions) {
  const Tensor x = tensor({1000, -1000}, {2, 1}, Dtype::f32);
  const Tensor w = tensor({1, -1, 1, -1}, {4, 1}, Dtype::f32);
  const Result r = run(x, w, {0, 0});
  EXPECT_FLOAT_EQ(static_cast<float>(r.loss[0]), std::log(2.0f));
  EXPECT_FLOAT_EQ(static_cast<float>(r.loss[1]), 2000 + std::log(2.0f));
  EXPECT_EQ(r.predictions, (std::vector<int32_t>{0, 1}));
}

TEST_P(LossTest, OutputsAreOptionalAndIndependent) {
  const Tensor x = tensor(wave(40 * 8, 0.1), {40, 8}, Dtype::f32), w = tensor(wave(11 * 8, 0.9), {11, 8}, Dtype::f32);
  const std::vector<int32_t> targets = some_targets(40, 11);
  const Result both = run(x, w, targets), none = run(x, w, targets, false, false);
  EXPECT_EQ(none.loss, both.loss);
  EXPECT_EQ(run(x, w, targets, true, false).dx, both.dx);
  EXPECT_EQ(run(x, w, targets, false, true).dw, both.dw);
}

TEST_P(LossTest, SameBitsForAnyThreadCount) {
  const Tensor x = tensor(wave(900 * 32, 0.1), {900, 32}, Dtype::f32);
  const Tensor w = tensor(wave(129 * 32, 0.9), {129, 32}, Dtype::f32);
  expect_same_bits_for_any_thread_count([&] { return run(x, w, some_targets(900, 129)).all(); });
}

MARA_ON_EVERY_DEVICE(LossTest);

}  // namespace
}  // namespace mara
