#include "autograd/tape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gradient_check.h"
#include "leaves.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/shape_ops.h"

namespace mara {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;
using In = std::vector<Tensor>;

// ---- parameters ----

// A block with two parameters, called three times, between uses of a third at both ends.
Tensor shared_and_tied(const In& p) {
  Tensor h = ops::matmul(p[3], p[0]);
  for (int i = 0; i < 3; ++i) h = ops::add(h, ops::sin(ops::linear(h, p[1], p[2])));
  return ops::sum_all(ops::matmul(h, p[0], {.b = true}));
}

TEST(Tape, SharedBlockAndTiedWeight) {
  Leaves leaves{{5, 4}, {4, 4}, {4}, {3, 5}};
  expect_gradient(shared_and_tied, leaves.values());
  Tape tape;
  tape.backward(recorded(tape, [&] { return ops::scale(shared_and_tied(leaves.track()), noise(1, 99)[0]); }));
  const Derivative expected = differentiate(shared_and_tied, leaves.values());
  for (size_t i = 0; i < leaves.size(); ++i) {
    const Values actual = leaves.gradient(i);
    for (size_t j = 0; j < actual.size(); ++j) EXPECT_NEAR(actual[j], expected.gradients[i][j], 1e-12);
  }
}

TEST(Tape, ReadyInReverseOrderOfFirstUseOnceEach) {
  Leaves leaves{{4}, {4}, {4}, {4}};
  const In p = leaves.track();
  Tape tape;
  const Tensor loss = recorded(tape, [&] {
    const Tensor a = ops::mul(p[2], p[0]);
    const Tensor unused = ops::sin(p[3]);  // used, but no gradient reaches it
    return ops::sum_all(ops::mul(ops::mul(a, p[1]), p[2]));
  });
  EXPECT_THAT(leaves.names(tape.leaves()), ElementsAre("2", "0", "3", "1"));
  std::vector<std::string> ready;
  tape.backward(loss, [&](Leaf& leaf) {
    EXPECT_TRUE(leaf.grad.written.gaps(0, 4).empty()) << leaf.name << " is not final";
    ready.push_back(leaf.name);
  });
  EXPECT_THAT(ready, ElementsAre("1", "3", "0", "2"));
  EXPECT_EQ(leaves.gradient(3), Values(4));
  EXPECT_THAT(tape.leaves(), IsEmpty());
}

TEST(Tape, PartOfAParameterThatIsNotUsedIsZeroed) {
  Leaves leaves{{4, 2}};
  Tape tape;
  tape.backward(recorded(tape, [&] { return ops::sum_all(leaves.track()[0].narrow(1, 2)); }));
  EXPECT_EQ(leaves.gradient(0), (Values{0, 0, 1, 1, 1, 1, 0, 0}));
}

TEST(Tape, MicroBatchesAddUpToOneBatch) {
  const Tensor batch = Tensor::from(noise(24, 9), {6, 4}, Dtype::f64, kCpu);
  const auto gradient = [&](int64_t size) {
    Leaves leaves{{3, 4}, {3}};
    for (int64_t start = 0; start < 6; start += size) {
      Tape tape;
      const In p = leaves.track();
      tape.backward(
          recorded(tape, [&] { return ops::sum_all(ops::sin(ops::linear(batch.narrow(start, size), p[0], p[1]))); }));
    }
    Values all = leaves.gradient(0);
    const Values bias = leaves.gradient(1);
    all.insert(all.end(), bias.begin(), bias.end());
    return all;
  };
  const Values whole = gradient(6), thirds = gradient(2);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(whole[i], thirds[i], 1e-13);
}

TEST(Tape, UsedAgainStartsAfresh) {
  Leaves leaves{{2}, {2}};
  const In p = leaves.track();
  Tape tape;
  tape.backward(recorded(tape, [&] { return ops::sum_all(ops::sin(p[0])); }));
  std::vector<std::string> ready;
  tape.backward(recorded(tape, [&] { return ops::sum_all(ops::sin(p[1])); }),
                [&](Leaf& leaf) { ready.push_back(leaf.name); });
  EXPECT_THAT(ready, ElementsAre("1"));
}

// ---- gradients that share memory ----

// add hands one gradient to both inputs; what is accumulated into one must not show in the other.
TEST(Tape, SharedGradientsAreNotCorrupted) {
  const Tensor x = Tensor::from(noise(6, 1), {6}, Dtype::f64, kCpu),
               y = Tensor::from(noise(6, 2), {6}, Dtype::f64, kCpu);
  const Function functions[] = {
      [](const In& in) { return ops::add(in[0], in[0]); },
      [](const In& in) { return ops::add(ops::sin(in[0]), ops::add(in[0], in[1])); },
      [](const In& in) { return ops::add(ops::add(in[0], in[1]), ops::sin(in[1])); },
      [](const In& in) {
        const Tensor sum = ops::add(in[0], in[1]);
        return ops::add(ops::mul(sum, in[0]), ops::add(sum, ops::add(in[1], sum)));
      },
  };
  for (const Function& f : functions) expect_gradient(f, {x, y});
}

TEST(Tape, TheSeedIsNotChanged) {
  Tape tape;
  const Tensor x = tape.source(Tensor::from(noise(4, 1), {4}, Dtype::f64, kCpu));
  const Tensor dy = Tensor::from(noise(4, 2), {4}, Dtype::f64, kCpu);
  tape.backward(recorded(tape, [&] { return ops::add(ops::sin(x), ops::add(x, x)); }), dy, {});
  EXPECT_EQ(dy.to_host(), noise(4, 2));
}

TEST(Tape, OutputMayBePartOfAResult) {
  Tape tape;
  const Tensor x = tape.source(Tensor::from(Values{1, 2, 3}, {3}, Dtype::f64, kCpu));
  tape.backward(recorded(tape, [&] { return ops::mul(x, x).narrow(1, 1); }));
  EXPECT_EQ(tape.take_grad(x).to_host(), (Values{0, 4, 0}));
}

TEST(Tape, SourceThatNothingReachedHasNoGradient) {
  Tape tape;
  const Tensor x = tape.source(Tensor::from(Values{1}, {1}, Dtype::f64, kCpu)), y = tape.source(x);
  tape.backward(recorded(tape, [&] { return ops::sin(x); }));
  EXPECT_TRUE(tape.take_grad(x).defined());
  EXPECT_FALSE(tape.take_grad(y).defined());
  EXPECT_FALSE(tape.take_grad(x).defined());  // taken
}

// ---- what is recorded ----

TEST(Tape, RecordsOnlyTrackedInputsInScope) {
  Leaves leaves{{2}};
  const Tensor p = leaves.track()[0], plain = leaves.values()[0];
  const auto tracked = [](const Tensor& x) { return x.place().owner != nullptr; };
  EXPECT_FALSE(tracked(ops::sin(p)));
  Tape tape;
  const Recording recording(tape);
  EXPECT_EQ(Recording::current(), &tape);
  EXPECT_TRUE(tracked(ops::sin(p)));
  EXPECT_FALSE(tracked(ops::sin(plain)));
  EXPECT_TRUE(will_record({plain, p}));
  {
    const NoGrad no_grad;
    EXPECT_FALSE(will_record({p}));
    EXPECT_FALSE(tracked(ops::sin(p)));
  }
  EXPECT_FALSE(will_record({plain}));
  EXPECT_EQ(tape.leaves().size(), 1u);
}

TEST(Tape, WithoutGradIsAConstant) {
  Tape tape;
  const Tensor x = tape.source(Tensor::from(Values{2}, {1}, Dtype::f64, kCpu));
  tape.backward(recorded(tape, [&] {
    Tensor constant;
    {
      const NoGrad no_grad;
      constant = ops::mul(x, x);
    }
    return ops::mul(constant, x);
  }));
  EXPECT_EQ(tape.take_grad(x).item(), 4);
}

TEST(Tape, RefusesWhatIsNotItsOwn) {
  Tape other, tape;
  const Tensor x = other.source(Tensor::from(Values{1, 2}, {2}, Dtype::f64, kCpu));
  EXPECT_THAT([&] { recorded(tape, [&] { return ops::sin(x); }); },
              ThrowsMessage<std::logic_error>(HasSubstr("unary uses a tensor of another tape")));
  EXPECT_THAT([&] { tape.backward(x, x.detach(), {}); },
              ThrowsMessage<std::logic_error>(HasSubstr("backward from a tensor that this tape did not make")));
  EXPECT_THAT([&] { other.backward(x); },
              ThrowsMessage<Error>(HasSubstr("a loss with one element is required, got (2)")));
  EXPECT_THAT(
      [&] {
        other.backward(x, x.detach().reshape({2, 1}), {});
      },
      ThrowsMessage<Error>(HasSubstr("a gradient of shape (2) is required, got (2, 1)")));
}

TEST(Tape, RefusesAGradientOfTheWrongShape) {
  Tape tape;
  const Tensor x = tape.source(Tensor::from(Values{1, 2}, {2}, Dtype::f64, kCpu));
  const Tensor y = recorded(tape, [&] {
    return record("broken", {x}, ops::sum_all(x.detach()), [](const Tensor& dy, Grads& g) { g.add(0, dy); });
  });
  EXPECT_THAT([&] { tape.backward(y); },
              ThrowsMessage<std::logic_error>(HasSubstr("backward of broken gave input 0 a gradient of shape (1)")));
}

// A bf16 parameter has an f32 gradient, in which contributions are not rounded to bf16; kernels that only write bf16
// go through a temporary.
TEST(Tape, GradientOfABf16ParameterIsF32) {
  const Tensor value = Tensor::from(Values{0.5, -2}, {2}, Dtype::bf16, kCpu);
  Leaf leaf{"p", {Tensor::from(Values{0, 0}, {2}, Dtype::f32, kCpu), {}}};
  for (const double seed : {1.0, 0.001953125}) {  // 1 + 2^-9 is no bf16
    Tape tape;
    const Tensor y = recorded(tape, [&] { return ops::abs(leaf.track(value)); });
    tape.backward(y, Tensor::from(Values{seed, seed}, {2}, Dtype::bf16, kCpu), {});
  }
  EXPECT_EQ(leaf.grad.data.to_host(), (Values{1.001953125, -1.001953125}));
}

}  // namespace
}  // namespace mara
