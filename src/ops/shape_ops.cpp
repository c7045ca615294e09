#include "ops/shape_ops.h"

#include <algorithm>

#include "autograd/tape.h"
#include "kernels/kernels.h"

namespace mara::ops {
namespace {

void copy_view(Device device, const View& from, const View& to, bool accumulate) {
  auto [k, stream] = kernels::on(device);
  k.copy(stream, {.x = from, .y = to, .accumulate = accumulate});
}

// The part of a view that `count` entries of an axis from `start` make up.
View part(View v, int axis, int64_t start, int64_t count) {
  if (v.data != nullptr) v.data = static_cast<char*>(v.data) + start * v.stride[axis] * size_of(v.dtype);
  v.shape[axis] = count;
  return v;
}

}  // namespace

Tensor permute(const Tensor& x, std::initializer_list<int> order) {
  MARA_CHECK(static_cast<int>(order.size()) == x.rank(), "permute: ", x.rank(), " axes are required, got ",
             order.size());
  Shape shape;
  Strides stride{};
  std::array<int, kMaxRank> inverse{};
  inverse.fill(-1);
  for (int axis : order) {
    axis = x.shape().axis(axis);
    MARA_CHECK(inverse[axis] < 0, "permute: axis ", axis, " is given twice");
    inverse[axis] = shape.rank;
    stride[shape.rank] = x.strides()[axis];
    shape = shape.append(x.size(axis));
  }
  return record("permute", {x}, x.strided(shape, stride, 0), [inverse](const Tensor& dy, Grads& g) {
    Shape back;
    Strides back_stride{};
    for (int i = 0; i < dy.rank(); ++i) {
      back_stride[i] = dy.strides()[inverse[i]];
      back = back.append(dy.size(inverse[i]));
    }
    const Grads::Slot slot = g.slot(0);
    copy_view(dy.device(), dy.strided(back, back_stride, 0).view(), slot.dst, slot.accumulate);
  });
}

Tensor transpose(const Tensor& x, int axis_a, int axis_b) {
  axis_a = x.shape().axis(axis_a);
  axis_b = x.shape().axis(axis_b);
  std::array<int, kMaxRank> order{0, 1, 2, 3, 4};
  std::swap(order[axis_a], order[axis_b]);
  switch (x.rank()) {
    case 2:
      return permute(x, {order[0], order[1]});
    case 3:
      return permute(x, {order[0], order[1], order[2]});
    case 4:
      return permute(x, {order[0], order[1], order[2], order[3]});
    case 5:
      return permute(x, {order[0], order[1], order[2], order[3], order[4]});
    default:
      return x;
  }
}

Tensor slice(const Tensor& x, int axis, int64_t start, int64_t count) {
  axis = x.shape().axis(axis);
  MARA_CHECK(start >= 0 && count >= 0 && start + count <= x.size(axis), "slice: entries ", start, " to ", start + count,
             " of an axis of size ", x.size(axis));
  Shape shape = x.shape();
  shape[axis] = count;
  return record("slice", {x}, x.strided(shape, x.strides(), start * x.strides()[axis]),
                [axis, start, count, like = x.shape()](const Tensor& dy, Grads& g) {
                  const bool first = g.untouched(0);
                  const Grads::Slot slot = g.slot(0);
                  auto [k, stream] = kernels::on(dy.device());
                  if (first) k.fill(stream, {.y = slot.dst, .value = 0});
                  copy_view(dy.device(), dy.view(), part(slot.dst, axis, start, count), !first);
                });
}

Tensor expand(const Tensor& x, int axis, int64_t count) {
  axis = x.shape().axis(axis);
  MARA_CHECK(x.size(axis) == 1 && count >= 1, "expand: an axis of size 1 to repeat once or more is required, got ",
             count, " times axis ", axis, " of ", x.shape());
  Shape shape = x.shape();
  shape[axis] = count;
  Strides stride = x.strides();
  stride[axis] = 0;
  return record("expand", {x}, x.strided(shape, stride, 0), [axis, count](const Tensor& dy, Grads& g) {
    const Grads::Slot slot = g.slot(0);
    int64_t inner = 1;
    for (int i = axis + 1; i < dy.rank(); ++i) inner *= dy.size(i);
    const int64_t outer = dy.numel() / (count * inner);
    View dx = slot.dst;
    dx.shape = {outer, inner};
    dx.stride = contiguous_strides(dx.shape);
    auto [k, stream] = kernels::on(dy.device());
    k.reduce_sum(stream, {.x = dy.reshape({outer, count, inner}).view(), .y = dx, .accumulate = slot.accumulate});
  });
}

Tensor contiguous(const Tensor& x) {
  if (x.contiguous()) return x;
  Tensor y = Tensor::empty_like(x);
  copy_view(x.device(), x.view(), y.view(), false);
  return record("contiguous", {x}, y, [](const Tensor& dy, Grads& g) { g.add(0, dy); });
}

Tensor concat(const std::vector<Tensor>& parts, int axis) {
  MARA_CHECK(!parts.empty(), "concat: at least one tensor is required");
  axis = parts[0].shape().axis(axis);
  Shape shape = parts[0].shape();
  shape[axis] = 0;
  for (const Tensor& part : parts) {
    Shape expected = part.shape();
    MARA_CHECK(part.rank() == shape.rank && part.dtype() == parts[0].dtype(),
               "concat: tensors of one rank and dtype are required");
    shape[axis] += part.size(axis);
    expected[axis] = shape[axis];
    MARA_CHECK(expected == shape, "concat: shapes may differ on axis ", axis, " only, got ", parts[0].shape(), " and ",
               part.shape());
  }
  Tensor y = Tensor::empty(shape, parts[0].dtype(), parts[0].device());
  std::vector<int64_t> sizes;
  int64_t start = 0;
  for (const Tensor& x : parts) {
    copy_view(y.device(), x.view(), part(y.view(), axis, start, x.size(axis)), false);
    sizes.push_back(x.size(axis));
    start += x.size(axis);
  }
  y.storage()->label = "concat";
  return record_with_leaves("concat", parts, {}, y, [axis, sizes](const Tensor& dy, Grads& g) {
    int64_t start = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      const int input = static_cast<int>(i);
      if (g.wants(input)) {
        const Grads::Slot slot = g.slot(input);
        copy_view(dy.device(), part(dy.view(), axis, start, sizes[i]), slot.dst, slot.accumulate);
      }
      start += sizes[i];
    }
  });
}

}  // namespace mara::ops
