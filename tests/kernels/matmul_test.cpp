#include "devices.h"
#include "kernels/compare.h"
#include "kernels/kernels.h"
#include "kernels/threads.h"

namespace mara {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Case {
  int64_t m, n, k, batch = 1;
  bool a_transposed = false, b_transposed = false;  // as they lie in memory
  bool a_repeated = false, b_repeated = false;      // batch stride 0
  bool accumulate = false, row_bias = false, col_bias = false;
  Dtype dtype = Dtype::f32, out = Dtype::f32;
};

struct Result {
  std::vector<double> computed, expected;
  double error() const { return relative_error(computed, expected); }
};

class MatmulTest : public OnDevice {
 protected:
  // (batch, rows, columns) values, with leading dimension `rows` or `columns` plus 3.
  Tensor operand(int64_t batch, int64_t rows, int64_t columns, bool transposed, bool repeated, Dtype dtype,
                 double phase) const {
    const int64_t outer = transposed ? columns : rows, ld = (transposed ? rows : columns) + 3;
    const int64_t batches = repeated ? 1 : batch;
    const Tensor base = Tensor::from(wave(batches * outer * ld, phase), {batches, outer, ld}, dtype, device());
    const int64_t step = repeated ? 0 : outer * ld;
    return base.strided({batch, rows, columns}, transposed ? Strides{step, 1, ld} : Strides{step, ld, 1}, 0);
  }
  // The elements of a strided operand, as stored.
  std::vector<double> values(const Tensor& x) const {
    const int64_t extent = x.storage()->bytes() / size_of(x.dtype());
    const std::vector<double> raw = x.strided({extent}, {1}, 0).to_host();
    std::vector<double> out;
    for (int64_t b = 0; b < x.size(0); ++b) {
      for (int64_t i = 0; i < x.size(1); ++i) {
        for (int64_t j = 0; j < x.size(2); ++j) {
          out.push_back(raw[static_cast<size_t>(b * x.strides()[0] + i * x.strides()[1] + j * x.strides()[2])]);
        }
      }
    }
    return out;
  }

  Result run(const Case& t) const {
    const int64_t ldc = t.n + 5;
    const std::vector<double> before = t.accumulate
                                           ? wave(t.batch * t.m * ldc, 0.3)
                                           : std::vector<double>(static_cast<size_t>(t.batch * t.m * ldc), kNan);
    const Tensor a = operand(t.batch, t.m, t.k, t.a_transposed, t.a_repeated, t.dtype, 0.1);
    const Tensor b = operand(t.batch, t.k, t.n, t.b_transposed, t.b_repeated, t.dtype, 0.2);
    const Tensor whole = Tensor::from(before, {t.batch, t.m, ldc}, t.out, device());
    const Tensor c = whole.strided({t.batch, t.m, t.n}, {t.m * ldc, ldc, 1}, 0);
    const Dtype bias_dtype = compute_dtype(t.dtype);
    const Tensor row = t.row_bias ? Tensor::from(wave(t.m, 0.4), {t.m}, bias_dtype, device()) : Tensor();
    const Tensor col = t.col_bias ? Tensor::from(wave(t.n, 0.5), {t.n}, bias_dtype, device()) : Tensor();

    const std::vector<double> av = values(a), bv = values(b), start = values(c), old = whole.to_host();
    const std::vector<double> rv = t.row_bias ? row.to_host() : std::vector<double>();
    const std::vector<double> cv = t.col_bias ? col.to_host() : std::vector<double>();
    auto [k, stream] = kernels::on(device());
    k.matmul(stream, {a.view(), b.view(), c.view(), row.view(), col.view(), t.accumulate});

    Result result{values(c), {}};
    for (int64_t i = 0; i < t.batch * t.m; ++i) {
      const int64_t batch = i / t.m;
      for (int64_t j = 0; j < t.n; ++j) {
        double sum = t.accumulate ? start[static_cast<size_t>(i * t.n + j)] : 0;
        if (t.row_bias) sum += rv[static_cast<size_t>(i % t.m)];
        if (t.col_bias) sum += cv[static_cast<size_t>(j)];
        for (int64_t p = 0; p < t.k; ++p) {
          sum += av[static_cast<size_t>(i * t.k + p)] * bv[static_cast<size_t>((batch * t.k + p) * t.n + j)];
        }
        result.expected.push_back(sum);
      }
    }
    const std::vector<double> after = whole.to_host();
    for (size_t i = 0; i < after.size(); ++i) {  // what lies between the rows of c stays
      if (static_cast<int64_t>(i) % ldc >= t.n &&
          !(after[i] == old[i] || (std::isnan(after[i]) && std::isnan(old[i])))) {
        ADD_FAILURE() << "wrote beyond column " << t.n << " of c";
        break;
      }
    }
    return result;
  }
  static double limit(const Case& t) { return tolerance(t.out); }
};

// Every form, at sizes around the kernels' tiles.
TEST_P(MatmulTest, FormsAndAwkwardSizes) {
  for (const Dtype dtype : floating_dtypes(device())) {
    for (const bool a_transposed : {false, true}) {
      for (const bool b_transposed : {false, true}) {
        for (const int64_t m : {1, 3, 17, 65, 129}) {
          for (const int64_t n : {1, 3, 17, 65, 129}) {
            for (const int64_t k : {1, 17, 65}) {
              Case t{m, n, k};
              t.a_transposed = a_transposed, t.b_transposed = b_transposed, t.dtype = t.out = dtype;
              EXPECT_LT(run(t).error(), limit(t))
                  << m << " " << n << " " << k << " " << a_transposed << b_transposed << " " << to_string(dtype);
            }
          }
        }
      }
    }
  }
}

// Long sums into a small output (a weight gradient) are cut along k as well.
TEST_P(MatmulTest, LongSums) {
  for (const Dtype dtype : floating_dtypes(device())) {
    for (const bool transposed : {false, true}) {
      Case t{33, 130, 1999};
      t.a_transposed = transposed, t.b_transposed = !transposed, t.dtype = dtype, t.out = compute_dtype(dtype);
      t.accumulate = transposed, t.row_bias = !transposed;
      const Result result = run(t);
      EXPECT_LT(result.error(), limit(t)) << to_string(dtype);
      Result control = result;  // off by one column
      std::rotate(control.computed.begin(), control.computed.begin() + 1, control.computed.end());
      EXPECT_GT(control.error(), limit(t));
    }
  }
}

TEST_P(MatmulTest, BatchesAndRepeatedOperands) {
  for (const Dtype dtype : floating_dtypes(device())) {
    for (const auto& [a_repeated, b_repeated] : {std::pair{false, false}, {true, false}, {false, true}}) {
      for (const bool b_transposed : {false, true}) {
        for (const auto& [m, n] : {std::pair{5, 33}, {70, 33}, {5, 1}}) {
          Case t{m, n, 19, 7};
          t.a_repeated = a_repeated, t.b_repeated = b_repeated, t.b_transposed = b_transposed;
          t.dtype = t.out = dtype;
          t.accumulate = n == 1 && a_repeated, t.row_bias = t.col_bias = n == 1 && !a_repeated;
          EXPECT_LT(run(t).error(), limit(t)) << to_string(dtype) << a_repeated << b_repeated << b_transposed;
        }
      }
    }
  }
}

TEST_P(MatmulTest, BiasesAccumulationAndF32OutputOfBf16) {
  for (const auto& [dtype, out] : {std::pair{Dtype::f32, Dtype::f32},
                                   {widest(device()), widest(device())},
                                   {Dtype::bf16, Dtype::bf16},
                                   {Dtype::bf16, Dtype::f32}}) {
    for (const int64_t k : {8, 600}) {  // in one piece, and in slices
      Case t{40, 150, k, 2};
      t.dtype = dtype, t.out = out;
      for (const auto& [row, col] : {std::pair{true, false}, {false, true}, {true, true}}) {
        t.row_bias = row, t.col_bias = col;
        EXPECT_LT(run(t).error(), limit(t)) << to_string(dtype) << row << col;
      }
      t.row_bias = t.col_bias = false, t.accumulate = true;
      EXPECT_LT(run(t).error(), limit(t)) << to_string(dtype);
    }
  }
}

// With c contiguous, a product through an epilogue.
struct Fused {
  Tensor a, b, row, col, pre;
  kernels::Epilogue epilogue;
  kernels::Unary function;

  // Everything in f64 on the CPU.
  Fused in_f64() const {
    Fused f = *this;
    for (Tensor* x : {&f.a, &f.b, &f.row, &f.col, &f.pre}) {
      if (x->defined()) *x = Tensor::from(x->to_host(), x->shape(), Dtype::f64, kCpu);
    }
    return f;
  }
  Tensor run(Dtype out) const {
    const Tensor c = Tensor::empty({a.size(0), a.size(1), b.size(2)}, out, a.device());
    auto [k, stream] = kernels::on(a.device());
    k.matmul(stream, {.a = a.view(),
                      .b = b.view(),
                      .c = c.view(),
                      .row_bias = row.view(),
                      .col_bias = col.view(),
                      .epilogue = epilogue,
                      .function = function,
                      .pre = pre.view()});
    return c;
  }
};

// Against the plain product followed by the elementwise kernel, in f64.
TEST_P(MatmulTest, Epilogues) {
  using kernels::Epilogue, kernels::Unary;
  const std::array<int64_t, 4> sizes[] = {
      {1, 1, 1, 1}, {1, 3, 17, 5}, {3, 9, 8, 19}, {1, 65, 136, 300}, {1, 16, 24, 2100}};
  for (const auto& [dtype, out] : {std::pair{Dtype::f32, Dtype::f32},
                                   {widest(device()), widest(device())},
                                   {Dtype::bf16, Dtype::bf16},
                                   {Dtype::bf16, Dtype::f32}}) {
    for (const auto& [batch, m, n, k] : sizes) {
      for (const Unary function : kFunctions) {
        for (const auto& [row, col] : {std::pair{false, false}, {false, true}, {true, true}}) {
          SCOPED_TRACE(testing::Message()
                       << to_string(dtype) << " into " << to_string(out) << " " << m << " " << n << " " << k
                       << " function " << static_cast<int>(function) << " biases " << row << col);
          const double scale = 1 / std::sqrt(static_cast<double>(k)), shift = function == Unary::reciprocal ? 1.5 : 0;
          // Of a growing frequency: sums over k of products of plain waves cancel.
          const auto make = [&](const Shape& shape, Dtype type, double phase, double size) {
            std::vector<double> values(static_cast<size_t>(shape.numel()));
            for (size_t i = 0; i < values.size(); ++i) {
              values[i] = size * (shift + std::sin(0.37 * static_cast<double>(i * i) + phase));
            }
            return Tensor::from(values, shape, type, device());
          };
          Fused fused{make({batch, m, k}, dtype, 0.1, scale), make({batch, k, n}, dtype, 0.2, 1)};
          if (row) fused.row = make({m}, compute_dtype(dtype), 0.3, 1);
          if (col) fused.col = make({n}, compute_dtype(dtype), 0.4, 1);
          fused.function = function;
          Fused exact = fused.in_f64();
          exact.epilogue = Epilogue::none;
          const Tensor sum = exact.run(Dtype::f64), expected = Tensor::empty_like(sum);
          auto [kernel, stream] = kernels::on(kCpu);

          fused.epilogue = Epilogue::activation;
          kernel.unary_forward(stream, {function, sum.view(), expected.view()});
          EXPECT_LT(relative_error(fused.run(out).to_host(), expected.to_host()), tolerance(out));
          fused.pre =
              Tensor::from(std::vector<double>(static_cast<size_t>(sum.numel()), kNan), sum.shape(), out, device());
          const std::vector<double> c = fused.run(out).to_host();
          EXPECT_LT(relative_error(c, expected.to_host()), tolerance(out));
          EXPECT_LT(relative_error(fused.pre.to_host(), sum.to_host()), tolerance(out));
          const double off = m == 65 ? 2 * tolerance(out) : -1;  // control: how far the plain sum is from it
          EXPECT_GT(relative_error(c, sum.to_host()), off);

          fused.epilogue = Epilogue::activation_gradient;
          fused.pre = make(sum.shape(), out, 0.5, 2);
          const Tensor pre = fused.in_f64().pre;
          kernel.unary_backward(stream, {function, pre.view(), sum.view(), expected.view()});
          const std::vector<double> gradient = fused.run(out).to_host();
          EXPECT_LT(relative_error(gradient, expected.to_host()), tolerance(out));
          EXPECT_GT(relative_error(gradient, sum.to_host()), off);
        }
      }
    }
  }
}

TEST_P(MatmulTest, SameBitsForAnyThreadCount) {
  for (const auto& [m, n, k] : {std::array{700, 192, 64}, {64, 128, 2000}, {129, 257, 129}}) {
    for (const bool transposed : {false, true}) {
      Case t{m, n, k};
      t.a_transposed = transposed, t.b_transposed = !transposed;
      expect_same_bits_for_any_thread_count([&] { return run(t).computed; });
    }
  }
}

MARA_ON_EVERY_DEVICE(MatmulTest);

}  // namespace
}  // namespace mara
