#include "core/tensor.h"

#include <numeric>

#include "devices.h"
#include "thrown.h"

namespace mara {
namespace {

class TensorTest : public OnDevice {
 protected:
  // 0, 1, 2, ...
  Tensor counting(const Shape& shape) const {
    std::vector<double> values(shape.numel());
    std::iota(values.begin(), values.end(), 0);
    return Tensor::from(values, shape, Dtype::f32, device());
  }
};

TEST_P(TensorTest, HostValuesComeBackInEveryDtype) {
  const std::vector<double> values = {0, -1.5, 1e30, 1 + 0x1p-40};
  const auto round_trip = [&](Dtype dtype) { return Tensor::from(values, {2, 2}, dtype, device()).to_host(); };
  EXPECT_EQ(round_trip(Dtype::f64), values);
  EXPECT_EQ(round_trip(Dtype::f32), (std::vector<double>{0, -1.5, double{1e30f}, 1}));
  EXPECT_EQ(round_trip(Dtype::bf16)[1], -1.5);
  EXPECT_NEAR(round_trip(Dtype::bf16)[2], 1e30, 4e27);
  const Tensor integers = Tensor::from(std::vector<int32_t>{3, -7}, {2}, device());
  EXPECT_EQ(integers.to_host_i32(), (std::vector<int32_t>{3, -7}));
  EXPECT_EQ(integers.to_host(), (std::vector<double>{3, -7}));
  EXPECT_EQ(Tensor::from(std::vector<double>{2.5}, {}, Dtype::f32, device()).item(), 2.5);
}

TEST_P(TensorTest, Properties) {
  const Tensor tensor = Tensor::empty({2, 3, 4}, Dtype::bf16, device());
  EXPECT_TRUE(tensor.defined());
  EXPECT_EQ(tensor.rank(), 3);
  EXPECT_EQ(tensor.size(-1), 4);
  EXPECT_EQ(tensor.numel(), 24);
  EXPECT_EQ(tensor.dtype(), Dtype::bf16);
  EXPECT_EQ(tensor.device(), device());
  EXPECT_TRUE(tensor.contiguous());
  EXPECT_EQ(Tensor::empty_like(tensor).shape(), tensor.shape());
  EXPECT_FALSE(Tensor().defined());
  EXPECT_FALSE(Tensor().view());
  EXPECT_TRUE(tensor.view());
}

TEST_P(TensorTest, ReshapeSharesMemoryAndInfersOneAxis) {
  const Tensor tensor = counting({2, 6}), reshaped = tensor.reshape({3, -1});
  EXPECT_EQ(reshaped.shape(), (Shape{3, 4}));
  EXPECT_EQ(reshaped.view().data, tensor.view().data);
  EXPECT_EQ(reshaped.to_host(), tensor.to_host());
  EXPECT_EQ(Tensor::empty({0, 3}, Dtype::f32, device()).reshape({3, -1}).shape(), (Shape{3, 0}));
}

TEST_P(TensorTest, NarrowTakesEntriesOfTheFirstAxis) {
  const Tensor tensor = counting({5, 2});
  EXPECT_EQ(tensor.narrow(1, 2).to_host(), (std::vector<double>{2, 3, 4, 5}));
  EXPECT_EQ(tensor.narrow(1, 3).narrow(1, 1).to_host(), (std::vector<double>{4, 5}));
  EXPECT_EQ(tensor.narrow(5, 0).numel(), 0);
}

TEST_P(TensorTest, ViewsKeepTheirPlaceOnTheTape) {
  Tensor tensor = counting({5, 2});
  const int owner = 0;
  tensor.set_place({&owner, 7, 100});
  const Place place = tensor.narrow(2, 2).reshape({4}).place();
  EXPECT_EQ(place.owner, &owner);
  EXPECT_EQ(place.node, 7);
  EXPECT_EQ(place.offset, 104);
  EXPECT_EQ(tensor.detach().place().owner, nullptr);
  EXPECT_EQ(tensor.strided({2}, {1}, 0).place().owner, nullptr);
}

TEST_P(TensorTest, StridedSeesTheSameMemory) {
  const Tensor tensor = counting({2, 3}), transposed = tensor.strided({3, 2}, {1, 3}, 0);
  EXPECT_FALSE(transposed.contiguous());
  EXPECT_EQ(transposed.strided({2}, {1}, 4).to_host(), (std::vector<double>{4, 5}));
}

TEST_P(TensorTest, WrapSeesAPartOfAStorage) {
  const Tensor arena = counting({100});
  const Tensor part = Tensor::wrap(arena.storage(), 64 * sizeof(float), {2, 2}, Dtype::f32);
  EXPECT_EQ(part.to_host(), (std::vector<double>{64, 65, 66, 67}));
}

TEST_P(TensorTest, WrongUseIsExplained) {
  const Tensor tensor = counting({2, 3}), strided = tensor.strided({3, 2}, {1, 3}, 0);
  const std::vector<double> values(5);
  EXPECT_EQ(message_of<Error>([&] {
              Tensor::from(values, {2, 3}, Dtype::f32, device());
            }),
            "Tensor::from: shape (2, 3) needs 6 values, got 5");
  EXPECT_EQ(message_of<Error>([&] {
              Tensor::from(std::vector<int32_t>(5), {2, 3}, device());
            }),
            "Tensor::from: shape (2, 3) needs 6 values, got 5");
  EXPECT_EQ(message_of<Error>([&] { Tensor::from(values, {5}, Dtype::i32, device()); }),
            "Tensor::from: a floating dtype is required, got i32");
  EXPECT_EQ(message_of<Error>([&] { tensor.reshape({4}); }), "reshape: (2, 3) has 6 elements, (4) has 4");
  EXPECT_EQ(message_of<Error>([&] { strided.reshape({6}); }),
            "reshape: a contiguous tensor is required, (3, 2) is strided; call contiguous() first");
  EXPECT_EQ(message_of<Error>([&] { tensor.narrow(1, 2); }), "narrow: entries 1 to 3 of an axis of size 2");
  EXPECT_EQ(message_of<Error>([&] { tensor.narrow(-1, 1); }), "narrow: entries -1 to 0 of an axis of size 2");
  EXPECT_EQ(message_of<Error>([&] { strided.narrow(0, 1); }),
            "narrow: a contiguous tensor with at least one axis is required");
  EXPECT_EQ(message_of<Error>([&] { strided.to_host(); }), "to_host: a contiguous tensor is required");
  EXPECT_EQ(message_of<Error>([&] { tensor.to_host_i32(); }), "to_host_i32: a contiguous i32 tensor is required");
  EXPECT_EQ(message_of<Error>([&] { tensor.item(); }), "item: a tensor with one element is required, got (2, 3)");
}

TEST_P(TensorTest, HostReadsCanBeForbidden) {
  const Tensor tensor = counting({2}), integer = Tensor::from(std::vector<int32_t>{1}, {1}, device());
  const std::string refused = "internal error: a tensor was read on the host inside a step";
  {
    const HostReadsForbidden outer;
    { const HostReadsForbidden inner; }
    EXPECT_EQ(message_of<std::logic_error>([&] { tensor.to_host(); }), refused);
    EXPECT_EQ(message_of<std::logic_error>([&] { integer.to_host_i32(); }), refused);
    EXPECT_EQ(message_of<std::logic_error>([&] { integer.item(); }), refused);
  }
  EXPECT_EQ(tensor.to_host(), (std::vector<double>{0, 1}));
}

MARA_ON_EVERY_DEVICE(TensorTest);

TEST(MetaTensor, HasAShapeButNoData) {
  const Tensor tensor = Tensor::empty({1000, 1000}, Dtype::f32, kMeta).narrow(5, 10);
  EXPECT_EQ(tensor.numel(), 10000);
  EXPECT_EQ(tensor.view().data, nullptr);
  EXPECT_TRUE(tensor.view());
  EXPECT_EQ(message_of<std::logic_error>([&] { tensor.to_host(); }),
            "internal error: a meta tensor has no data to read");
}

}  // namespace
}  // namespace mara
