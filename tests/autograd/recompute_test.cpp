#include "autograd/recompute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "leaves.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/reduce.h"

namespace mara {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

enum Mode { direct, recomputed, nested };

// A residual block with dropout; p is weight and bias.
Tensor block(const Tensor& x, const std::vector<Tensor>& p) {
  const Tensor normed = ops::rms_norm(x, {}, 1e-5, Dtype::f64);
  return ops::add(x, ops::dropout(ops::silu(ops::linear(normed, p[0], p[1])), 0.3));
}

struct Outcome {
  Values loss, dx;
  std::vector<Values> gradients;
  std::vector<std::string> used, ready;
  int64_t saved = 0, peak = 0;  // bytes after forward, and in the whole step
  uint32_t drawn = 0;
  bool operator==(const Outcome&) const = default;
};

// Three blocks, the first and the last with the same parameters, then one more use of parameter 4.
Outcome run(Mode mode) {
  Leaves leaves{{16, 16}, {16}, {16, 16}, {16}, {16, 16}};
  const std::vector<Tensor> p = leaves.track();
  const int64_t step = 5;
  RandomStream stream{.seed = 3, .step = &step};
  const RandomScope random(stream);
  Outcome out;
  Pool pool(kCpu);
  {
    const PoolScope scope(pool);
    Tape tape;
    const Tensor x = tape.source(Tensor::from(noise(64 * 16, 2), {64, 16}, Dtype::f64, kCpu));
    const Tensor loss = recorded(tape, [&] {
      Tensor h = x;
      for (const size_t first : {0, 2, 0}) {
        const auto body = [&p, first](const Inputs& in) { return block(in[0], {p[first], p[first + 1]}); };
        const auto inner = [body](const Inputs& in) { return recompute(body, in); };
        h = mode == direct ? body({h}) : mode == recomputed ? recompute(body, {h}) : recompute(inner, {h});
      }
      return ops::sum_all(ops::matmul(h, p[4]));
    });
    out.used = Leaves::names(tape.leaves());
    out.saved = pool.live_bytes();
    tape.backward(loss, [&](Leaf& leaf) { out.ready.push_back(leaf.name); });
    out.loss = loss.to_host();
    out.dx = tape.take_grad(x).to_host();
    out.drawn = stream.next_op;
  }
  EXPECT_EQ(pool.live_blocks(), 0);
  for (size_t i = 0; i < leaves.size(); ++i) out.gradients.push_back(leaves.gradient(i));
  out.peak = pool.peak_bytes();
  return out;
}

TEST(Recompute, ChangesNothingButMemory) {
  const Outcome expected = run(direct);
  EXPECT_EQ(expected.drawn, 3u);
  EXPECT_EQ(expected.ready, (std::vector<std::string>(expected.used.rbegin(), expected.used.rend())));
  for (const Mode mode : {recomputed, nested}) {
    Outcome actual = run(mode);
    EXPECT_LT(actual.saved, expected.saved / 2);
    EXPECT_LT(actual.peak, expected.peak);
    actual.saved = expected.saved, actual.peak = expected.peak;
    EXPECT_EQ(actual, expected) << "values, gradients, order or random numbers differ";
  }
}

TEST(Recompute, GradientsMatchDifferences) {
  const std::vector<Tensor> inputs{Tensor::from(noise(12, 1), {3, 4}, Dtype::f64, kCpu),
                                   Tensor::from(noise(16, 2), {4, 4}, Dtype::f64, kCpu),
                                   Tensor::from(noise(4, 3), {4}, Dtype::f64, kCpu)};
  const Function through = [](const std::vector<Tensor>& in) {
    const auto body = [](const Inputs& x) { return ops::sin(ops::add(ops::linear(x[0], x[1], x[2]), x[0])); };
    return ops::mul(recompute(body, {in[0], in[1], in[2]}), in[0]);
  };
  expect_gradient(through, inputs);
}

TEST(Recompute, OutputMayBeAnInputOrAPartOfOne) {
  const Tensor x = Tensor::from(noise(6, 1), {3, 2}, Dtype::f64, kCpu);
  const std::function<Tensor(const Inputs&)> bodies[] = {
      [](const Inputs& in) { return in[0]; },
      [](const Inputs& in) { return in[0].reshape({6}); },
      [](const Inputs& in) { return in[0].narrow(1, 1); },
      [](const Inputs& in) { return in[0].detach(); },
  };
  const size_t last = std::size(bodies) - 1;
  for (size_t i = 0; i < last; ++i) {
    expect_gradient([&](const std::vector<Tensor>& in) { return recompute(bodies[i], {in[0]}); }, {x});
  }
  const Function constant = [&](const std::vector<Tensor>& in) { return recompute(bodies[last], {in[0]}); };
  EXPECT_EQ(differentiate(constant, {x}).gradients[0], Values(6));
}

TEST(Recompute, RefusesATrackedTensorThatIsNotListed) {
  Tape tape;
  const Tensor x = tape.source(Tensor::from(Values{1, 2}, {2}, Dtype::f64, kCpu)), unlisted = tape.source(x);
  EXPECT_THAT(
      [&] {
        recorded(tape, [&] { return recompute([&](const Inputs& in) { return ops::mul(in[0], unlisted); }, {x}); });
      },
      ThrowsMessage<std::logic_error>(HasSubstr("recompute must list every tracked input")));
  EXPECT_THROW(
      {
        const Tensor y = recorded(tape, [&] { return recompute([&](const Inputs&) { return unlisted; }, {x}); });
        tape.backward(y, y.detach(), {});
      },
      std::logic_error);
}

TEST(Recompute, WithoutATapeRunsOnce) {
  int runs = 0;
  const Tensor x = Tensor::from(Values{1, 2}, {2}, Dtype::f64, kCpu);
  const auto body = [&](const Inputs& in) {
    ++runs;
    return ops::sin(in[0]);
  };
  recompute(body, {x});
  EXPECT_EQ(runs, 1);
  Tape tape;
  const Tensor tracked = tape.source(x);
  const Tensor y = recorded(tape, [&] { return recompute(body, {tracked}); });
  EXPECT_EQ(runs, 2);
  tape.backward(y, x, {});
  EXPECT_EQ(runs, 3);
}

TEST(HostReads, AreForbiddenInsideAStep) {
  const Tensor x = Tensor::from(Values{3}, {1}, Dtype::f32, kCpu);
  const Tensor id = Tensor::from(std::vector<int32_t>{3}, {1}, kCpu);
  {
    const HostReadsForbidden step;
    EXPECT_THROW(x.item(), std::logic_error);
    EXPECT_THROW(x.to_host(), std::logic_error);
    EXPECT_THROW(id.to_host_i32(), std::logic_error);
    EXPECT_THROW(id.to_host(), std::logic_error);
    EXPECT_NO_THROW(ops::sin(x));
  }
  EXPECT_EQ(x.item(), 3);
  EXPECT_EQ(id.to_host_i32()[0], 3);
}

}  // namespace
}  // namespace mara
