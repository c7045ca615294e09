#include "ops/decay_window.h"

#include <gtest/gtest.h>

#include "op_cases.h"
#include "ops/matmul.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;

OpCase windowed(int64_t channels, int64_t length, double shift) {
  const Argument::Kind kind = Argument::parameter;  // never bf16
  return {"D " + std::to_string(channels) + ", L " + std::to_string(length) + ", shift " + std::to_string(shift),
          {{{channels, length}, kind}, {{channels}, kind}},
          [=](const In& x) {
            std::vector<double> time(static_cast<size_t>(length));
            for (int64_t l = 0; l < length; ++l) time[l] = 3.0 * static_cast<double>(l) / static_cast<double>(length);
            return ops::decay_window(x[0], x[1], Tensor::from(time, {length}, x[0].dtype(), x[0].device()), shift);
          }};
}

std::vector<OpCase> cases() {
  return {windowed(3, 8, 0), windowed(2, 7, 0.5), windowed(1, 1, 0), windowed(5, 66, -0.25)};
}

class DecayWindowOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(DecayWindowOps);

TEST(DecayWindowGradients, MatchDifferences) { check_gradients(cases()); }
TEST_P(DecayWindowOps, MatchF64) { check_precision(cases(), device()); }

TEST_P(DecayWindowOps, IsTheProductWithExponentials) {
  const int64_t channels = 4, length = 9;
  const Values times = noise(length, 7);
  const OpCase fused{"fused", {{{channels, length}}, {{channels}}}, [&](const In& x) {
                       const Tensor time = Tensor::from(times, {length}, x[0].dtype(), x[0].device());
                       return ops::decay_window(x[0], x[1], time, 0.5);
                     }};
  const auto composed = [&](const In& x) {
    const Tensor time = Tensor::from(times, {1, length}, x[0].dtype(), x[0].device());
    const Tensor slope = ops::scale(ops::abs(x[1].reshape({channels, 1})), -1);
    const Tensor window = ops::exp(ops::matmul(slope, time));
    return ops::mul(x[0], ops::add(window, ops::full({length}, 0.5, x[0].dtype(), x[0].device())));
  };
  check_same(fused, composed, device());
}

TEST(DecayWindow, SaysWhatIsWrong) {
  const auto zeros = [](const Shape& shape, Dtype dtype = Dtype::f32) { return ops::full(shape, 0, dtype, kCpu); };
  const auto error_of = [](const Tensor& x, const Tensor& rate, const Tensor& time) -> std::string {
    try {
      ops::decay_window(x, rate, time);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const Tensor x = zeros({2, 3}), rate = zeros({2}), time = zeros({3});
  EXPECT_EQ(error_of(x, rate, time), "");
  EXPECT_NE(error_of(zeros({2, 3, 1}), rate, time).find("x must be contiguous (D, L)"), std::string::npos);
  EXPECT_NE(error_of(zeros({2, 3}, Dtype::bf16), rate, time).find("f32 or f64, got"), std::string::npos);
  EXPECT_NE(error_of(x, time, time).find("rate must be contiguous (2) f32, got (3)"), std::string::npos);
  EXPECT_NE(error_of(x, rate, rate).find("time must be contiguous (3) f32, got (2)"), std::string::npos);
  EXPECT_NE(error_of(x, rate, zeros({3}, Dtype::f64)).find("(3) f32, got (3) f64"), std::string::npos);
  Strides two;
  two[0] = 2;
  EXPECT_NE(error_of(x, rate, zeros({6}).strided({3}, two, 0)).find("time must be contiguous"), std::string::npos);
}

}  // namespace
}  // namespace mara
