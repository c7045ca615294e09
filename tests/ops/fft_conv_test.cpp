#include "ops/fft_conv.h"

#include <gtest/gtest.h>

#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;
using Convolution = Tensor (*)(const Tensor&, const Tensor&, const ops::FftConvOptions&);

struct Form {
  int64_t length = 12, taps = 12, reverse = 0;  // reverse 0: none
  bool skip = false, gate_in = false, gate_out = false, circular = false;
};

OpCase convolution(const Form& f, Convolution op) {
  const Argument u{{2, 3, f.length}};
  std::string name = "L " + std::to_string(f.length) + " K " + std::to_string(f.taps) + " reverse " +
                     std::to_string(f.reverse) + (f.skip ? " skip" : "") + (f.gate_in ? " gate_in" : "") +
                     (f.gate_out ? " gate_out" : "") + (f.circular ? " circular" : "");
  std::vector<Argument> arguments{u, {{2, f.taps}, Argument::parameter}};
  if (f.reverse > 0) arguments.push_back({{2, f.reverse}, Argument::parameter});
  if (f.skip) arguments.push_back({{2}, Argument::parameter});
  if (f.gate_in) arguments.push_back(u);
  if (f.gate_out) arguments.push_back(u);
  return {name, arguments, [f, op](const In& x) {
            ops::FftConvOptions options{.form = f.circular ? ops::ConvForm::circular : ops::ConvForm::causal};
            size_t next = 2;
            if (f.reverse > 0) options.reverse = x[next++];
            if (f.skip) options.skip = x[next++];
            if (f.gate_in) options.gate_in = x[next++];
            if (f.gate_out) options.gate_out = x[next++];
            return op(x[0], x[1], options);
          }};
}

// Filters shorter, equal and longer; each option alone and all together; causal and circular.
std::vector<Form> forms() {
  std::vector<Form> out;
  for (const bool circular : {false, true}) {
    for (const int64_t taps : {1, 5, 12, 29}) out.push_back({.taps = taps, .circular = circular});
    for (const int64_t reverse : {4, 12, 17}) out.push_back({.reverse = reverse, .circular = circular});
    out.push_back({.taps = 7, .skip = true, .circular = circular});
    out.push_back({.taps = 7, .gate_in = true, .circular = circular});
    out.push_back({.taps = 7, .gate_out = true, .circular = circular});
    for (const int64_t length : {1, 12, 33}) {
      out.push_back({length, 12, 5, true, true, true, circular});
    }
  }
  return out;
}

std::vector<OpCase> cases(Convolution op) {
  std::vector<OpCase> out;
  for (const Form& form : forms()) out.push_back(convolution(form, op));
  return out;
}

// One tensor in several places of the op: their gradients meet.
std::vector<OpCase> tied() {
  const Argument u{{2, 3, 12}}, filter{{2, 7}, Argument::parameter};
  return {{"gated by itself",
           {u, filter},
           [](const In& x) { return ops::fft_conv(x[0], x[1], {.gate_in = x[0], .gate_out = x[0]}); }},
          {"symmetric filter", {u, filter}, [](const In& x) { return ops::fft_conv(x[0], x[1], {.reverse = x[1]}); }},
          {"parts of one projection", {{{6, 3, 12}}, filter}, [](const In& x) {
             return ops::fft_conv(x[0].narrow(4, 2), x[1],
                                  {.gate_in = x[0].narrow(2, 2), .gate_out = x[0].narrow(0, 2)});
           }}};
}

class FftConvOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(FftConvOps);

TEST(FftConvGradients, MatchDifferences) {
  check_gradients(cases(ops::fft_conv));
  check_gradients(tied());
}
TEST(FftConvGradients, OfTheComposedFormMatchDifferences) {
  check_gradients({convolution({12, 29, 17, true, true, true, true}, ops::fft_conv_composed)});
}
TEST_P(FftConvOps, MatchF64) {
  check_precision(cases(ops::fft_conv), device());
  check_precision(tied(), device());
}
// Layers count lags of their reverse filter from -1.
TEST_P(FftConvOps, SSM_G10_shifted_by_one) {
  const auto row = [&](const Values& values) { return Tensor::from(values, {1, 4}, Dtype::f32, device()); };
  const Tensor reverse = ops::shifted_by_one(row({.1, .2, .3, .4}));
  EXPECT_LT(relative_error(reverse.to_host(), {0, .1, .2, .3}), 1e-6);
  const Tensor y = ops::fft_conv(row({1, 0, 0, 2}).reshape({1, 1, 4}), row({1, .5, .25, .125}), {.reverse = reverse});
  EXPECT_LT(relative_error(y.to_host(), {1.6, .9, .45, 2.125}), tolerance(Dtype::f32));
}

TEST_P(FftConvOps, FusedIsComposed) {
  for (const Form& form : forms()) {
    check_same(convolution(form, ops::fft_conv), convolution(form, ops::fft_conv_composed).fn, device());
  }
  const Form longer{300, 257, 100, true, true, true, false};
  check_same(convolution(longer, ops::fft_conv), convolution(longer, ops::fft_conv_composed).fn, device());
}

}  // namespace
}  // namespace mara
