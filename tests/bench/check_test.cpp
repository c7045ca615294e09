#include "bench/check.h"

#include <set>

#include "bench/standard.h"
#include "core/thrown.h"
#include "devices.h"
#include "kernels/observer.h"
#include "train/recipes.h"

namespace mara::bench {
namespace {

const std::set<std::string> kAllKernels = {
#define KERNEL(name, Args) #name,
#include "kernels/kernel_list.inc"
#undef KERNEL
};

// What none of the test recipes uses, and what does: `mara bench` runs every kernel, and its numbers come from the same
// random inputs.
const std::set<std::string> kNotInRecipes = {
    "softmax_forward",    "softmax_backward",     // ops for composed forms
    "ssm_scan",                                   // generating
    "hyena_conv_forward", "hyena_conv_backward",  // longer rows
};

std::set<std::string> names(const Calls& calls) {
  std::set<std::string> out;
  for (const auto& call : calls) out.insert(call->kernel);
  return out;
}

View view(const Shape& shape, Dtype dtype = Dtype::f32) {
  return {nullptr, dtype, shape, contiguous_strides(shape), true};
}

std::set<std::string> wrong(const std::vector<CheckRow>& rows) {
  std::set<std::string> out;
  for (const CheckRow& row : rows) {
    if (!row.ok()) out.insert(row.kernel);
  }
  return out;
}

class CheckTest : public OnDevice {};

TEST_P(CheckTest, EveryKernelOfTheTestRecipesIsRight) {
  std::set<std::string> seen;
  for (const auto& path : train::recipe_files("tests")) {
    const Calls calls = recipe_calls(train::Recipe::load(path.string()), false);
    const std::vector<CheckRow> rows = check(calls, kernels::on(device()));
    EXPECT_EQ(wrong(rows), std::set<std::string>{}) << path << "\n" << to_text(rows);
    seen.merge(names(calls));
  }
  for (const std::string& kernel : kNotInRecipes) EXPECT_TRUE(seen.insert(kernel).second) << kernel;
  EXPECT_EQ(seen, kAllKernels);
}

TEST_P(CheckTest, EveryKernelAtOddSizes) {
  for (const char* dtype : {"f32", "bf16"}) {
    Sizes sizes{.B = 3, .L = 37, .D = 20, .V = 51, .H = 2, .K = 4};
    sizes.set(std::string("dtype=") + dtype);
    const Calls calls = standard_calls(sizes, "");
    EXPECT_EQ(names(calls), kAllKernels);
    const std::vector<CheckRow> rows = check(calls, kernels::on(device()));
    EXPECT_EQ(wrong(rows), std::set<std::string>{}) << to_text(rows);
  }
}

// Whose gradients come of several rounded steps; of few channels, so that chance counts.
TEST_P(CheckTest, HyenaOfLongRows) {
  for (const int64_t length : {1000, 1024, 4096, 8192}) {
    Sizes sizes{.B = 1, .L = length, .D = 4, .V = 1, .H = 1, .K = 3};
    sizes.set("dtype=bf16");
    const std::vector<CheckRow> rows = check(standard_calls(sizes, "hyena_conv"), kernels::on(device()));
    EXPECT_EQ(rows.size(), 4u);  // two directions, in one kernel where there is one, and composed
    EXPECT_EQ(wrong(rows), std::set<std::string>{}) << to_text(rows);
  }
}

MARA_ON_EVERY_DEVICE(CheckTest);

// One kernel of the CPU's table replaced by a wrong one.
template <class Args>
std::vector<CheckRow> check_with(kernels::Entry<Args> entry, void (*body)(Stream&, const Args&), const Calls& calls) {
  kernels::Table table = kernels::on(kCpu).k;
  table.*entry = body;
  return check(calls, {table, kernels::on(kCpu).stream});
}

TEST(Check, FindsWrongKernels) {
  using namespace kernels;
  const Calls calls = recipe_calls(train::test_recipe("hyena"), true);
  // A bias that is left out, a gradient that is overwritten instead of added to, one element that is not written.
  const auto no_bias = +[](Stream& stream, const Matmul& args) {
    Matmul wrong = args;
    wrong.row_bias = wrong.col_bias = {};
    cpu::matmul(stream, wrong);
  };
  EXPECT_EQ(wrong(check_with(&Table::matmul, no_bias, calls)), (std::set<std::string>{"matmul"}));
  const auto overwrites = +[](Stream& stream, const Copy& args) {
    Copy wrong = args;
    wrong.accumulate = false;
    cpu::copy(stream, wrong);
  };
  const Calls sums = record([] {
    const auto [k, stream] = on(kMeta);
    k.copy(stream, {.x = view({5, 7}), .y = view({5, 7}), .accumulate = true});
    k.copy(stream, {.x = view({5, 7}), .y = view({5, 7})});
  });
  const std::vector<CheckRow> rows = check_with(&Table::copy, overwrites, sums);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_FALSE(rows[0].ok());
  EXPECT_TRUE(rows[1].ok());
  const auto short_of_one = +[](Stream& stream, const UnaryForward& args) {
    UnaryForward wrong = args;
    const int64_t n = args.x.numel() - 1;
    for (View* part : {&wrong.x, &wrong.y}) part->shape = {n}, part->stride = contiguous_strides(part->shape);
    cpu::unary_forward(stream, wrong);
  };
  const std::vector<CheckRow> unary = check_with(&Table::unary_forward, short_of_one, calls);
  EXPECT_EQ(wrong(unary), (std::set<std::string>{"unary_forward"}));
  EXPECT_NE(to_text(unary).find("WRONG"), std::string::npos);
  const std::string message = message_of<Failure>([&] { require_ok(unary, "stop"); });
  EXPECT_NE(message.find("unary_forward (y: error inf"), std::string::npos) << message;
  EXPECT_NE(message.find("; stop"), std::string::npos) << message;
  EXPECT_NO_THROW(require_ok(check(calls, on(kCpu)), ""));
}

TEST(Check, FindsErrorsOfADtypeTooCoarse) {
  using namespace kernels;
  // Inputs rounded to bf16 in a product of f32.
  const auto coarse = +[](Stream& stream, const Matmul& args) {
    for (const View& x : {args.a, args.b}) {
      for (int64_t i = 0; i < x.numel(); ++i) x.ptr<float>()[i] = static_cast<float>(bf16(x.ptr<float>()[i]));
    }
    cpu::matmul(stream, args);
  };
  const Calls product = record([] {
    const auto [k, stream] = on(kMeta);
    k.matmul(stream, {.a = view({1, 9, 33}), .b = view({1, 33, 5}), .c = view({1, 9, 5})});
  });
  const std::vector<CheckRow> rows = check_with(&Table::matmul, coarse, product);
  EXPECT_GT(rows[0].error, rows[0].bound);
  EXPECT_LT(rows[0].error, error_bound(Dtype::bf16, Dtype::bf16));
}

TEST(Check, BoundsGrowWithTheCoarserDtype) {
  const Dtype f64 = Dtype::f64, f32 = Dtype::f32, half = Dtype::bf16;
  EXPECT_LT(error_bound(f64, f64), error_bound(f32, f32));
  EXPECT_EQ(error_bound(f64, f32), error_bound(f32, f32));
  EXPECT_LT(error_bound(f32, f32), error_bound(f32, half));
  EXPECT_LT(error_bound(f32, half), error_bound(half, half));
  EXPECT_EQ(error_bound(f32, f32), tolerance(f32));
  EXPECT_EQ(error_bound(half, half), tolerance(half));
}

TEST(Calls, EqualOnesAreCounted) {
  const auto calls_of = [](int64_t blocks) {
    return recipe_calls(train::test_recipe("hyena", {"model.blocks=" + std::to_string(blocks)}), false);
  };
  const Calls three = calls_of(3), six = calls_of(6);
  EXPECT_EQ(three.size(), six.size());
  const auto fft_convs = [](const Calls& calls) {
    int64_t count = 0;
    for (const auto& call : calls) count += call->kernel == "fft_conv_backward" ? call->count : 0;
    return count;
  };
  EXPECT_EQ(fft_convs(three), 3);
  EXPECT_EQ(fft_convs(six), 6);
  // Of the micro-batches, the first overwrites gradients and the others add: two calls, not as many as there are.
  const Calls micro = recipe_calls(train::test_recipe("hyena", {"train.micro_batch=4"}), false);
  EXPECT_EQ(fft_convs(micro), 2 * 4);
}

TEST(Calls, TheQuickFormIsShort) {
  const train::Recipe recipe =
      train::test_recipe("hyena", {"model.vocab=5000", "model.width=256", "train.batch=64", "task.length=127"});
  double full = 0, quick = 0;
  const Calls all = recipe_calls(recipe, false), few = recipe_calls(recipe, true);
  for (const auto& call : all) full += call->bytes;
  for (const auto& call : few) quick += call->bytes;
  EXPECT_EQ(names(all), names(few));
  EXPECT_LT(quick, 0.1 * full);
}

}  // namespace
}  // namespace mara::bench
