#include <numeric>

#include "compare.h"
#include "devices.h"
#include "kernels/kernels.h"
#include "threads.h"

namespace mara::kernels {
namespace {

class CopyTest : public OnDevice {
 protected:
  // A view with axis i at the place order[i] of memory (0 the outermost), with `gap` elements left out after each
  // run along the innermost axis; memory is filled from `values`.
  static Strides permuted(const Shape& shape, const std::vector<int>& order, int64_t gap) {
    Strides stride{};
    int64_t step = 1;
    for (int place = shape.rank - 1; place >= 0; --place) {
      for (int axis = 0; axis < shape.rank; ++axis) {
        if (order[axis] != place) continue;
        stride[axis] = step;
        step = step * shape[axis] + (place == shape.rank - 1 ? gap : 0);
      }
    }
    return stride;
  }
  static int64_t extent(const Shape& shape, const Strides& stride) {
    int64_t last = 0;
    for (int i = 0; i < shape.rank; ++i) last += (shape[i] - 1) * stride[i];
    return last + 1;
  }
  // Offsets in memory of the elements in row-major order of the shape.
  static std::vector<int64_t> offsets(const Shape& shape, const Strides& stride) {
    std::vector<int64_t> out;
    for (int64_t i = 0; i < shape.numel(); ++i) {
      int64_t rest = i, offset = 0;
      for (int axis = shape.rank - 1; axis >= 0; --axis) {
        offset += rest % shape[axis] * stride[axis];
        rest /= shape[axis];
      }
      out.push_back(offset);
    }
    return out;
  }
  void check(const Shape& shape, const Strides& x_stride, const Strides& y_stride, Dtype dx, Dtype dy,
             bool accumulate) const {
    const Tensor x = Tensor::from(wave(extent(shape, x_stride), 0, 3), {extent(shape, x_stride)}, dx, device());
    const Tensor y = Tensor::from(wave(extent(shape, y_stride), 1), {extent(shape, y_stride)}, dy, device());
    std::vector<double> expected = y.to_host();
    const std::vector<double> from = x.to_host();
    const std::vector<int64_t> x_offset = offsets(shape, x_stride), y_offset = offsets(shape, y_stride);
    for (size_t i = 0; i < x_offset.size(); ++i) {
      double& to = expected[y_offset[i]];
      to = from[x_offset[i]] + (accumulate ? to : 0);
    }
    auto [k, stream] = on(device());
    k.copy(stream, {x.strided(shape, x_stride, 0).view(), y.strided(shape, y_stride, 0).view(), accumulate});
    const bool exact = dx == dy && !accumulate;
    // Memory between the elements of y must be untouched, so all of it is compared.
    expect_close(y.to_host(), expected,
                 exact ? 0 : std::max(rounding(dy), rounding(dx == Dtype::f64 ? dx : Dtype::f32)));
  }
};

TEST_P(CopyTest, ContiguousOfEveryDtype) {
  for (Dtype dx : floating_dtypes(device())) {
    for (Dtype dy : floating_dtypes(device())) {
      for (bool accumulate : {false, true}) {
        for (int64_t n : {1, 3, 17, 1000, 65537}) check({n}, {1}, {1}, dx, dy, accumulate);
      }
    }
  }
}

TEST_P(CopyTest, EveryOrderOfThreeAxes) {
  const Shape shape{5, 33, 18};
  std::vector<int> x_order(3);
  std::iota(x_order.begin(), x_order.end(), 0);
  do {
    for (int64_t gap : {0, 3}) {
      for (Dtype dtype : floating_dtypes(device())) {
        for (bool accumulate : {false, true}) {
          check(shape, permuted(shape, x_order, gap), contiguous_strides(shape), dtype, dtype, accumulate);
          check(shape, permuted(shape, {1, 2, 0}, gap), permuted(shape, x_order, 2), dtype, Dtype::f32, accumulate);
        }
      }
    }
  } while (std::next_permutation(x_order.begin(), x_order.end()));
}

TEST_P(CopyTest, FiveAxesSomeOfSizeOne) {
  for (Shape shape : {Shape{2, 3, 4, 5, 6}, Shape{2, 1, 17, 1, 16}}) {
    for (const std::vector<int>& order : {std::vector<int>{4, 3, 2, 1, 0}, {0, 2, 1, 4, 3}, {3, 0, 4, 1, 2}}) {
      check(shape, permuted(shape, order, 1), contiguous_strides(shape), Dtype::f32, Dtype::f32, false);
      check(shape, contiguous_strides(shape), permuted(shape, order, 1), Dtype::f32, Dtype::bf16, true);
    }
  }
}

TEST_P(CopyTest, SourcesThatStepBroadcastOrRunBackwards) {
  check({40, 50}, {100, 2}, {50, 1}, Dtype::f32, Dtype::f32, false);
  check({40, 50}, {0, 1}, {50, 1}, Dtype::f32, Dtype::f32, true);
  check({40, 50}, {1, 0}, {50, 1}, Dtype::f32, Dtype::bf16, false);
  auto [k, stream] = on(device());
  const Tensor x = Tensor::from(std::vector<double>{1, 2, 3, 4}, {4}, Dtype::f32, device()), y = Tensor::empty_like(x);
  k.copy(stream, {x.strided({4}, {-1}, 3).view(), y.view()});
  EXPECT_EQ(y.to_host(), (std::vector<double>{4, 3, 2, 1}));
}

TEST_P(CopyTest, Integers) {
  auto [k, stream] = on(device());
  // Patterns that are NaN or denormal as floats must come through.
  const std::vector<int32_t> values = {0x7fc00001, -1, 1, 0x7f800001, 5, 6};
  const Tensor x = Tensor::from(values, {2, 3}, device()), y = Tensor::empty({3, 2}, Dtype::i32, device());
  k.copy(stream, {x.strided({3, 2}, {1, 3}, 0).view(), y.view()});
  EXPECT_EQ(y.to_host_i32(), (std::vector<int32_t>{0x7fc00001, 0x7f800001, -1, 5, 1, 6}));
  const Tensor z = Tensor::from(std::vector<int32_t>{1, 2, 3, 4, 5, 0x01000001}, {3, 2}, device());
  k.copy(stream, {z.view(), z.view(), true});
  EXPECT_EQ(z.to_host_i32(), (std::vector<int32_t>{2, 4, 6, 8, 10, 0x02000002}));
}

TEST_P(CopyTest, ScalarsAndNothing) {
  check({}, {}, {}, Dtype::f32, Dtype::f32, true);
  auto [k, stream] = on(device());
  const Tensor none = Tensor::empty({3, 0}, Dtype::f32, device());
  k.copy(stream, {none.view(), none.view()});
}

TEST_P(CopyTest, SameBitsForAnyThreadCount) {
  auto [k, stream] = on(device());
  const Tensor x = Tensor::from(wave(70000, 0), {700, 100}, Dtype::f32, device());
  const Tensor y = Tensor::empty({100, 700}, Dtype::f32, device());
  expect_same_bits_for_any_thread_count([&] {
    k.copy(stream, {x.strided({100, 700}, {1, 100}, 0).view(), y.view()});
    return y.to_host();
  });
}

MARA_ON_EVERY_DEVICE(CopyTest);

}  // namespace
}  // namespace mara::kernels
