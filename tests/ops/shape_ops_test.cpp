// Views and copies, among them Tensor::reshape and narrow, whose gradients come from places and not from ops.

#include "ops/shape_ops.h"

#include <gtest/gtest.h>

#include "op_cases.h"
#include "ops/reduce.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;

std::vector<OpCase> cases() {
  using namespace ops;
  std::vector<OpCase> out{
      {"permute",
       {{{2, 3, 4}}},
       [](const In& x) {
         return permute(x[0], {2, 0, 1});
       }},
      {"permute twice",
       {{{2, 3, 4}}},
       [](const In& x) {
         return permute(permute(x[0], {2, 0, 1}), {-1, 0, 1});
       }},
      {"permute of rank 5",
       {{{2, 1, 3, 2, 2}}},
       [](const In& x) {
         return permute(x[0], {4, 2, 0, 1, 3});
       }},
      {"transpose", {{{2, 3, 4}}}, [](const In& x) { return transpose(x[0], 0, -1); }},
      {"transpose of a matrix", {{{3, 4}}}, [](const In& x) { return transpose(x[0], 0, 1); }},
      {"slice of a transpose", {{{3, 4}}}, [](const In& x) { return slice(transpose(x[0], 0, 1), 0, 1, 2); }},
      {"transpose of a slice", {{{3, 4}}}, [](const In& x) { return transpose(slice(x[0], 1, 1, 2), 0, 1); }},
      {"overlapping slices",
       {{{3, 5}}},
       [](const In& x) { return add(contiguous(slice(x[0], 1, 0, 3)), contiguous(slice(x[0], 1, 2, 3))); }},
      {"expand", {{{2, 1, 3}}}, [](const In& x) { return contiguous(expand(x[0], 1, 4)); }},
      {"expand of a slice, used twice",
       {{{2, 3, 4}}},
       [](const In& x) {
         return add(contiguous(expand(slice(x[0], 1, 2, 1), 1, 3)),
                    mul(x[0], contiguous(expand(slice(x[0], 1, 0, 1), -2, 3))));
       }},
      {"contiguous",
       {{{2, 3, 4}}},
       [](const In& x) {
         return mul(contiguous(transpose(x[0], 1, 2)),
                    Tensor::from(noise(24, 5), {2, 4, 3}, x[0].dtype(), x[0].device()));
       }},
      {"concat with itself",
       {{{2, 3}}},
       [](const In& x) {
         return concat({x[0], x[0], sin(x[0])}, 1);
       }},
      {"concat of one", {{{2, 3}}}, [](const In& x) { return concat({x[0]}, 0); }},
      {"concat of strided parts",
       {{{2, 3}}, {{4, 2}}},
       [](const In& x) {
         return concat({transpose(x[0], 0, 1), x[1]}, 0);
       }},
  };
  for (const int axis : {0, 1, 2, -1}) {
    const std::string name = " on axis " + std::to_string(axis);
    out.push_back({"slice" + name, {{{4, 3, 5}}}, [axis](const In& x) { return slice(x[0], axis, 1, 2); }});
    Shape other{2, 3, 4};
    other[other.axis(axis)] = 5;
    out.push_back({"concat" + name, {{{2, 3, 4}}, {other}, {{2, 3, 4}}}, [axis](const In& x) {
                     return concat({x[0], x[1], x[2]}, axis);
                   }});
  }
  // The same on an input and on an intermediate result: a gradient in a node of either kind.
  const std::pair<const char*, Function> views[] = {
      {"reshape",
       [](const In& x) {
         return sin(x[0].reshape({4, -1}));
       }},
      {"narrow", [](const In& x) { return sin(x[0].narrow(1, 3)); }},
      {"narrow and reshape", [](const In& x) { return exp(x[0]).narrow(1, 3).reshape({6}); }},
      {"narrow of a narrow", [](const In& x) { return sin(x[0].narrow(1, 4).narrow(2, 2)); }},
      {"narrow, reshape, narrow",
       [](const In& x) {
         return sin(x[0].narrow(1, 4).reshape({2, 4}).narrow(1, 1));
       }},
      {"disjoint narrows", [](const In& x) { return mul(x[0].narrow(0, 3), x[0].narrow(3, 3)); }},
      {"overlapping narrows", [](const In& x) { return mul(x[0].narrow(0, 4), x[0].narrow(2, 4)); }},
      {"narrow inside a narrow", [](const In& x) { return mul(sin(x[0]).narrow(2, 3), x[0].narrow(2, 3)); }},
      {"whole and part",
       [](const In& x) {
         return concat({x[0], x[0].narrow(1, 2)}, 0);
       }},
      {"part and whole",
       [](const In& x) {
         return concat({x[0].narrow(1, 2), sin(x[0])}, 0);
       }},
      {"row broadcast from itself", [](const In& x) { return mul(x[0], x[0].narrow(4, 1).reshape({2})); }},
  };
  for (const auto& [name, view] : views) {
    out.push_back({name, {{{6, 2}}}, view});
    out.push_back(
        {std::string(name) + " of a result", {{{6, 2}}}, [view = view](const In& x) { return view({exp(x[0])}); }});
  }
  return out;
}

class ShapeOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(ShapeOps);

TEST(ShapeGradients, MatchDifferences) { check_gradients(cases()); }
TEST_P(ShapeOps, MatchF64) { check_precision(cases(), device()); }

TEST_P(ShapeOps, WhatIsNotUsedHasGradientZero) {
  const Tensor x = Tensor::from(noise(12, 1), {6, 2}, Dtype::f32, device());
  const Values part = noise(4, 99);
  const Values padded{0, 0, part[0], part[1], part[2], part[3], 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(differentiate([](const In& in) { return in[0].narrow(1, 2); }, {x}).gradients[0], padded);
  EXPECT_EQ(differentiate([](const In& in) { return ops::slice(in[0], 0, 1, 2); }, {x}).gradients[0], padded);
}

TEST_P(ShapeOps, ValuesAndCopies) {
  const Tensor x = Tensor::from(Values{1, 2, 3, 4, 5, 6}, {2, 3}, Dtype::f32, device());
  const Tensor turned = ops::transpose(x, 0, 1);
  EXPECT_EQ(turned.storage(), x.storage());
  EXPECT_EQ(ops::contiguous(turned).to_host(), (Values{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(ops::contiguous(x).storage(), x.storage());
  EXPECT_EQ(ops::contiguous(ops::slice(x, 1, 1, 2)).to_host(), (Values{2, 3, 5, 6}));
  EXPECT_EQ(ops::concat({x, x}, 1).to_host(), (Values{1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6}));
  EXPECT_EQ(ops::concat({ops::slice(turned, 0, 0, 1), ops::slice(turned, 0, 2, 1)}, 0).to_host(), (Values{1, 4, 3, 6}));
  EXPECT_EQ(ops::contiguous(ops::expand(x.reshape({2, 1, 3}), 1, 2)).to_host(),
            (Values{1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6}));
  EXPECT_THROW(ops::expand(x, 1, 2), Error);  // only an axis of size 1
  const Tensor ids = Tensor::from(std::vector<int32_t>{1, 2, 3, 4}, {2, 2}, device());
  EXPECT_EQ(ops::contiguous(ops::transpose(ids, 0, 1)).to_host_i32(), (std::vector<int32_t>{1, 3, 2, 4}));
  const Tensor vector = x.reshape({6});
  EXPECT_EQ(ops::transpose(vector, 0, 0).storage(), vector.storage());
}

}  // namespace
}  // namespace mara
