#include "nn/channel_output.h"

#include <gtest/gtest.h>

#include "core/random.h"
#include "nn/parameters.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/shape_ops.h"

namespace mara::nn {
namespace {

constexpr int64_t kChannels = 6, kWidth = 3;

struct OutputUnderTest {
  explicit OutputUnderTest(const ChannelOutputOptions& options, int64_t width = kWidth)
      : output(options, kChannels, width, 0.02), arena(output, kCpu, Dtype::f64, 1) {
    assign_waves(arena);
  }

  ChannelOutput output;
  ParameterArena arena;
};

Tensor channels() { return Tensor::from(wave(kChannels * 2 * 5, 0.3), {kChannels, 2, 5}, Dtype::f64, kCpu); }

/// (C, B, L) -> (B, L, C): undoes to_channels.
Tensor by_position(const Tensor& x) { return ops::contiguous(ops::permute(x, {1, 2, 0})); }

TEST(ChannelOutput, IsWhatItSays) {
  const Tensor u = channels();
  EXPECT_EQ(to_channels(by_position(u)).to_host(), u.to_host());
  const std::pair<const char*, Tensor> activations[] = {
      {"identity", u}, {"gelu", ops::gelu(u)}, {"silu", ops::silu(u)}, {"relu", ops::relu(u)}};
  for (const auto& [activation, activated] : activations) {
    const Tensor h = by_position(activated);
    OutputUnderTest none({.activation = activation, .output = "none"}, kChannels);
    EXPECT_TRUE(names(none.output).empty());
    EXPECT_EQ(none.output.forward(u, false).to_host(), h.to_host());

    const auto mapped = [&](OutputUnderTest& m) {
      return ops::linear(h, parameter(m.output, "proj.weight").value(), parameter(m.output, "proj.bias").value());
    };
    OutputUnderTest linear({.activation = activation, .output = "linear"});
    EXPECT_LT(relative_error(linear.output.forward(u, false).to_host(), mapped(linear).to_host()), 1e-12);

    OutputUnderTest glu({.activation = activation});
    const std::vector<double> both = mapped(glu).to_host();
    std::vector<double> expected;
    for (size_t row = 0; row < both.size(); row += 2 * kWidth) {
      for (size_t d = 0; d < kWidth; ++d) {
        expected.push_back(both[row + d] / (1 + std::exp(-both[row + kWidth + d])));
      }
    }
    EXPECT_LT(relative_error(glu.output.forward(u, false).to_host(), expected), 1e-12);
  }
}

TEST(ChannelOutput, DropoutBehindTheActivationInTrainingOnly) {
  int64_t step = 0;
  RandomStream random{.seed = 3, .step = &step};
  const RandomScope scope(random);
  OutputUnderTest m({.output = "none", .dropout = 0.5}, kChannels);
  const Tensor u = channels();
  const std::vector<double> whole = m.output.forward(u, false).to_host();
  EXPECT_EQ(whole, by_position(ops::gelu(u)).to_host());
  EXPECT_EQ(random.next_op, 0u);
  int64_t dropped = 0;
  const std::vector<double> rest = m.output.forward(u, true).to_host();
  for (size_t i = 0; i < whole.size(); ++i) {
    const bool is_dropped = rest[i] == 0;
    EXPECT_DOUBLE_EQ(rest[i], is_dropped ? 0 : 2 * whole[i]);
    dropped += is_dropped;
  }
  EXPECT_GT(dropped, 15);
  EXPECT_LT(dropped, 45);
}

}  // namespace
}  // namespace mara::nn
