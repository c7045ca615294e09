#include "core/shape.h"

#include <gtest/gtest.h>

#include "core/view.h"
#include "thrown.h"

namespace mara {
namespace {

TEST(Shape, SizesAndText) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape.rank, 3);
  EXPECT_EQ(shape.numel(), 24);
  EXPECT_EQ(shape[1], 3);
  EXPECT_EQ(to_string(shape), "(2, 3, 4)");
  EXPECT_EQ(Shape{}.numel(), 1);
  EXPECT_EQ(to_string(Shape{}), "()");
  EXPECT_EQ((Shape{3, 0}.numel()), 0);
  EXPECT_EQ(shape.append(5), (Shape{2, 3, 4, 5}));
}

TEST(Shape, EqualityComparesRankAndSizes) {
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_FALSE((Shape{2, 3} == Shape{2, 4}));
  EXPECT_FALSE((Shape{2} == Shape{2, 1}));
}

TEST(Shape, AxesCountFromBothEnds) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape.axis(0), 0);
  EXPECT_EQ(shape.axis(-1), 2);
  EXPECT_EQ(shape.axis(-3), 0);
  EXPECT_EQ(message_of<Error>([&] { shape.axis(3); }), "axis 3 of a tensor with 3 axes");
  EXPECT_EQ(message_of<Error>([&] { shape.axis(-4); }), "axis -4 of a tensor with 3 axes");
}

TEST(Shape, HasAtMostFiveAxes) {
  EXPECT_EQ(message_of<Error>([] { Shape({1, 1, 1, 1, 1, 1}); }), "shape: at most 5 axes, got 6");
  EXPECT_EQ(message_of<Error>([] { Shape({1, 1, 1, 1, 1}).append(1); }), "shape: at most 5 axes");
}

TEST(Strides, OfContiguousTensors) {
  EXPECT_EQ(contiguous_strides({2, 3, 4}), (Strides{12, 4, 1}));
  EXPECT_TRUE(is_contiguous({2, 3, 4}, {12, 4, 1}));
  EXPECT_TRUE(is_contiguous({2, 1, 4}, {4, 99, 1}));  // the stride of an axis of size 1 is never used
  EXPECT_FALSE(is_contiguous({2, 3, 4}, {24, 4, 1}));
  EXPECT_FALSE(is_contiguous({2, 3}, {1, 2}));
  EXPECT_TRUE(is_contiguous({}, {}));
}

TEST(View, AccessorFollowsTheStrides) {
  float data[] = {0, 1, 2, 3, 4, 5};
  const View transposed{data, Dtype::f32, {3, 2}, {1, 3}, true};
  const auto x = transposed.as<float, 2>();
  EXPECT_EQ(x(0, 1), 3);
  EXPECT_EQ(x(2, 0), 2);
  x(2, 1) = 9;
  EXPECT_EQ(data[5], 9);
  EXPECT_FALSE(transposed.contiguous());
  EXPECT_FALSE(View{});
  EXPECT_TRUE(transposed);
}

}  // namespace
}  // namespace mara
