#include "bench/bench.h"

#include <nlohmann/json.hpp>

#include "core/thrown.h"
#include "devices.h"
#include "train/recipes.h"

namespace mara::bench {
namespace {

constexpr double kLeast = 1e-4;  // seconds for each measurement: what matters here is what is counted

View view(const Shape& shape, Dtype dtype = Dtype::f32) {
  return {nullptr, dtype, shape, contiguous_strides(shape), true};
}

const Call& only(const Calls& calls) {
  EXPECT_EQ(calls.size(), 1u);
  return *calls.front();
}

Calls one(const std::function<void(const kernels::Table&, Stream&)>& launch) {
  return record([&] {
    const auto [k, stream] = kernels::on(kMeta);
    launch(k, stream);
  });
}

TEST(Call, CountsBytesAndWork) {
  const Calls copy = one([](auto& k, Stream& s) { k.copy(s, {.x = view({1000}), .y = view({1000}, Dtype::bf16)}); });
  EXPECT_EQ(only(copy).bytes, 1000 * (4 + 2));
  EXPECT_EQ(only(copy).flops, 0);
  EXPECT_EQ(only(copy).shapes, "(1000)");
  const Calls sum = one(
      [](auto& k, Stream& s) { k.copy(s, {.x = view({1000}), .y = view({1000}, Dtype::bf16), .accumulate = true}); });
  EXPECT_EQ(only(sum).bytes, 1000 * (4 + 2 + 2));
  const Calls product = one([](auto& k, Stream& s) {
    k.matmul(s, {.a = view({1, 2, 3}), .b = view({1, 3, 5}), .c = view({1, 2, 5}), .col_bias = view({5})});
  });
  EXPECT_EQ(only(product).bytes, 4 * (6 + 15 + 10 + 5));
  EXPECT_EQ(only(product).flops, 2 * 2 * 3 * 5);
  EXPECT_EQ(only(product).shapes, "(1, 2, 3) (1, 3, 5) (1, 2, 5) (5)");
  // Of a table only the rows that are read.
  const Calls gather = one([](auto& k, Stream& s) {
    k.gather_forward(s, {.x = view({1, 1000, 8}), .index = view({3}, Dtype::i32), .y = view({1, 3, 8})});
  });
  EXPECT_EQ(only(gather).bytes, 4 * (3 + 2 * 3 * 8));
  // As kernels/cpu/adamw.cpp says, and two for the copies.
  const int64_t n = 1 << 20;
  const Calls adamw = one([&](auto& k, Stream& s) {
    const View flat = view({n}), number = view({1});
    k.adamw(s, {.master = flat,
                .grad = flat,
                .m = flat,
                .v = flat,
                .compute = view({n}, Dtype::bf16),
                .range_count = 1,
                .loss_sum = number,
                .count = number,
                .grad_squares = view({1}, Dtype::f64)});
  });
  EXPECT_NEAR(only(adamw).bytes / static_cast<double>(n), 30, 1e-3);
}

class BenchTest : public OnDevice {};

TEST_P(BenchTest, TimesEveryKernel) {
  const Calls calls = standard_calls({.B = 2, .L = 9, .D = 8, .V = 11, .H = 2, .K = 3}, "");
  for (const auto& call : calls) {
    const Timed timed = time(*call, device(), kLeast);
    EXPECT_EQ(timed.kernel, call->kernel);
    EXPECT_GT(timed.seconds, 0);
    EXPECT_LT(timed.seconds, 1);
    EXPECT_EQ(timed.bytes, call->bytes);
  }
}

TEST_P(BenchTest, LargerTakesLonger) {
  const auto seconds = [&](int64_t size) {
    const Calls calls = one([&](auto& k, Stream& s) {
      const View square = view({1, size, size});
      k.matmul(s, {.a = square, .b = square, .c = square});
    });
    return time(only(calls), device(), 1e-2).seconds;
  };
  EXPECT_GT(seconds(512), seconds(32));  // 4096 times the work
}

MARA_ON_EVERY_DEVICE(BenchTest);

TEST(Bench, JsonSaysWhatTheTextSays) {
  const Report report{.device = "a device",
                      .ceilings = {.copy = 1e12, .product = 5e14},
                      .step = StepTimes{.seconds = 0.5,
                                        .tokens_per_second = 1e6,
                                        .parameters = 10'000'000,
                                        .flops_per_token = 1e8,
                                        .memory = int64_t{3} << 30},
                      .calls = {{"copy", "(1000)", Dtype::f32, 3, 1e-3, 2e8, 0},
                                {"matmul", "(1, 2, 3)", Dtype::bf16, 1, 1e-3, 1e6, 1e11}}};
  const nlohmann::json json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["device"], "a device");
  EXPECT_EQ(json["copy_bytes_per_second"], 1e12);
  EXPECT_EQ(json["step"]["tokens_per_second"], 1e6);
  EXPECT_DOUBLE_EQ(json["step"]["mfu_6p"], 6 * 1e7 * 1e6 / 5e14);
  EXPECT_DOUBLE_EQ(json["step"]["mfu_counted"], 1e8 * 1e6 / 5e14);
  EXPECT_EQ(json["step"]["memory_bytes"], int64_t{3} << 30);
  ASSERT_EQ(json["kernels"].size(), 2u);
  const nlohmann::json &copy = json["kernels"][0], &matmul = json["kernels"][1];
  EXPECT_DOUBLE_EQ(copy["bytes_per_second"], 2e11);
  EXPECT_DOUBLE_EQ(copy["floor_seconds"], 2e-4);
  EXPECT_DOUBLE_EQ(copy["copy_fraction"], 0.2);
  EXPECT_DOUBLE_EQ(copy["share"], 0.75);
  EXPECT_FALSE(copy.contains("flops"));
  EXPECT_DOUBLE_EQ(matmul["flops_per_second"], 1e14);
  EXPECT_DOUBLE_EQ(matmul["product_fraction"], 0.2);
  const std::string text = to_text(report);
  for (const char* part : {"a device", "copy 1000 GB/s", "500 Tflop/s", "1,000,000 tokens/s", "12.0 %", "20.0 %",
                           "3.0 GiB", "75.0%", "200.0    20%", "100.000    20%"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST(Bench, MeasuresAStep) {
  const train::Recipe recipe = train::test_recipe("hyena");
  const Report report = bench_step(recipe, kCpu, {.copy = 1e10, .product = 1e11}, kLeast);
  ASSERT_TRUE(report.step.has_value());
  EXPECT_NEAR(report.step->tokens_per_second * report.step->seconds, 16 * recipe.model_setup().length, 1e-6);
  EXPECT_GT(report.step->memory, 16 * report.step->parameters);  // f32: weights, gradients and two moments
  EXPECT_GT(report.calls.size(), 20u);
  for (size_t i = 1; i < report.calls.size(); ++i) {
    EXPECT_LE(report.calls[i].total_seconds(), report.calls[i - 1].total_seconds());
  }
}

TEST(Sizes, AreSetByLetter) {
  Sizes sizes = Sizes::of(kCpu);
  sizes.set("D=24");
  sizes.set("dtype=bf16");
  EXPECT_EQ(sizes.D, 24);
  EXPECT_EQ(sizes.dtype, Dtype::bf16);
  for (const auto& [wrong, says] :
       std::vector<std::pair<std::string, std::string>>{{"D", "key=value"},
                                                        {"X=3", "V (vocabulary)"},
                                                        {"length=3", "unknown size length"},
                                                        {"D=0", "from 1 to"},
                                                        {"D=12x", "from 1 to"},
                                                        {"dtype=i32", "f32, bf16 or f64"}}) {
    EXPECT_NE(message_of<Error>([&] { sizes.set(wrong); }).find(says), std::string::npos) << wrong;
  }
  EXPECT_NE(message_of<Error>([&] { standard_calls(sizes, "fft_covn"); }).find("fft_conv_forward"), std::string::npos);
  EXPECT_EQ(standard_calls(sizes, "fft_conv").size(), 8u);  // forward and backward, with gates and without, general or not
  sizes.H = 5;
  EXPECT_NE(message_of<Error>([&] { standard_calls(sizes, ""); }).find("multiple of the heads"), std::string::npos);
}

}  // namespace
}  // namespace mara::bench
