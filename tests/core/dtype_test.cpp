#include "core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "thrown.h"

namespace mara {
namespace {

float round_trip(float value) { return static_cast<float>(bf16(value)); }

TEST(Bf16, KeepsWhatItCanRepresent) {
  for (float value : {0.0f, -0.0f, 1.0f, -1.5f, 0x1p-126f, 0x1.fep127f, 3.0e38f}) {
    const auto representable = std::bit_cast<float>(std::bit_cast<uint32_t>(value) & 0xffff0000u);
    EXPECT_EQ(std::bit_cast<uint32_t>(round_trip(representable)), std::bit_cast<uint32_t>(representable));
  }
}

TEST(Bf16, RoundsToNearestAndTiesToEven) {
  // One unit in the last place of bf16 at 1 is 2^-7.
  EXPECT_EQ(round_trip(1 + 0x1p-8f), 1.0f);                    // a tie; 1 is even
  EXPECT_EQ(round_trip(1 + 0x3p-8f), 1 + 0x1p-6f);             // a tie; 1 + 2^-6 is even
  EXPECT_EQ(round_trip(1 + 0x1p-8f + 0x1p-23f), 1 + 0x1p-7f);  // just above the tie
  EXPECT_EQ(round_trip(1 + 0x1p-8f - 0x1p-23f), 1.0f);         // just below
  EXPECT_EQ(round_trip(-1 - 0x3p-8f), -1 - 0x1p-6f);
  EXPECT_EQ(round_trip(2 - 0x1p-23f), 2.0f);  // carries into the exponent
}

TEST(Bf16, InfinityNanAndOverflow) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(round_trip(inf), inf);
  EXPECT_EQ(round_trip(-inf), -inf);
  EXPECT_EQ(round_trip(std::numeric_limits<float>::max()), inf);
  for (uint32_t bits : {0x7fc00000u, 0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu}) {
    // Rounding the bits of the second would give inf, of the fourth -0.
    EXPECT_TRUE(std::isnan(round_trip(std::bit_cast<float>(bits)))) << std::hex << bits;
  }
}

TEST(Bf16, Denormals) {
  EXPECT_EQ(round_trip(0x1p-133f), 0x1p-133f);  // the smallest
  EXPECT_EQ(round_trip(0x1p-134f), 0.0f);       // a tie; 0 is even
  EXPECT_EQ(round_trip(0x3p-134f), 0x1p-132f);
  EXPECT_EQ(round_trip(0x1p-126f - 0x1p-149f), 0x1p-126f);
}

TEST(Dtype, NamesSizesAndComputeTypes) {
  const struct {
    Dtype dtype;
    const char* name;
    int64_t size;
    bool floating;
    Dtype compute;
  } rows[] = {
      {Dtype::f32, "f32", 4, true, Dtype::f32},
      {Dtype::bf16, "bf16", 2, true, Dtype::f32},
      {Dtype::f64, "f64", 8, true, Dtype::f64},
      {Dtype::i32, "i32", 4, false, Dtype::f32},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(to_string(row.dtype), row.name);
    EXPECT_EQ(parse_dtype(row.name), row.dtype);
    EXPECT_EQ(size_of(row.dtype), row.size);
    EXPECT_EQ(is_float(row.dtype), row.floating);
    EXPECT_EQ(compute_dtype(row.dtype), row.compute);
  }
  EXPECT_EQ(message_of<Error>([] { parse_dtype("fp16"); }),
            "dtype: one of f32, bf16, f64, i32 is required, got 'fp16'");
}

TEST(Dtype, DispatchCallsWithTheStorageType) {
  const auto bytes = [](Dtype dtype) { return dispatch_float(dtype, []<class T>() { return dtype_of<T>; }); };
  for (Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::f64}) EXPECT_EQ(bytes(dtype), dtype);
}

}  // namespace
}  // namespace mara
