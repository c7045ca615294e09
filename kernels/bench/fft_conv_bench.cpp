// Time per element of the long convolution on the CPU: forward, gated forward, backward (du and dk), gated backward.

#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "core/tensor.h"
#include "kernels/kernels.h"

namespace mara {
namespace {

Tensor filled(const Shape& shape, Dtype dtype) {
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(0.7 * static_cast<double>(i));
  return Tensor::from(values, shape, dtype, kCpu);
}

struct Problem {
  Tensor u, dy, gate_in, gate_out, k, skip;
  Tensor y, du, dgate_in, dgate_out, dk, dskip;

  Problem(benchmark::State& state, Dtype dtype) {
    const int64_t channels = state.range(0), batch = state.range(1), length = state.range(2);
    const Shape rows{channels, batch, length};
    u = filled(rows, dtype), dy = filled(rows, dtype), gate_in = filled(rows, dtype), gate_out = filled(rows, dtype);
    k = filled({channels, length}, compute_dtype(dtype)), skip = filled({channels}, compute_dtype(dtype));
    y = Tensor::empty_like(u), du = Tensor::empty_like(u), dgate_in = Tensor::empty_like(u);
    dgate_out = Tensor::empty_like(u), dk = Tensor::empty_like(k), dskip = Tensor::empty_like(skip);
  }
};

template <class Body>
void run(benchmark::State& state, const Body& body) {
  const auto [table, stream] = kernels::on(kCpu);
  for (auto _ : state) body(table, stream);
  const auto elements = static_cast<double>(state.range(0) * state.range(1) * state.range(2));
  state.counters["per_element"] =
      benchmark::Counter(elements, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void forward(benchmark::State& state, Dtype dtype) {
  const Problem p(state, dtype);
  run(state, [&](const kernels::Table& table, Stream& stream) {
    table.fft_conv_forward(stream, {.u = p.u.view(), .k = p.k.view(), .y = p.y.view()});
  });
}

void gated_forward(benchmark::State& state, Dtype dtype) {
  const Problem p(state, dtype);
  run(state, [&](const kernels::Table& table, Stream& stream) {
    table.fft_conv_forward(stream, {.u = p.u.view(),
                                    .k = p.k.view(),
                                    .skip = p.skip.view(),
                                    .gate_in = p.gate_in.view(),
                                    .gate_out = p.gate_out.view(),
                                    .y = p.y.view()});
  });
}

void backward(benchmark::State& state, Dtype dtype) {
  const Problem p(state, dtype);
  run(state, [&](const kernels::Table& table, Stream& stream) {
    table.fft_conv_backward(
        stream, {.dy = p.dy.view(), .u = p.u.view(), .k = p.k.view(), .du = p.du.view(), .dk = p.dk.view()});
  });
}

void gated_backward(benchmark::State& state, Dtype dtype) {
  const Problem p(state, dtype);
  run(state, [&](const kernels::Table& table, Stream& stream) {
    table.fft_conv_backward(stream, {.dy = p.dy.view(),
                                     .u = p.u.view(),
                                     .k = p.k.view(),
                                     .skip = p.skip.view(),
                                     .gate_in = p.gate_in.view(),
                                     .gate_out = p.gate_out.view(),
                                     .du = p.du.view(),
                                     .dgate_in = p.dgate_in.view(),
                                     .dgate_out = p.dgate_out.view(),
                                     .dk = p.dk.view(),
                                     .dskip = p.dskip.view()});
  });
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"D", "B", "L"});
  bench->Args({64, 8, 1024})->Args({64, 8, 4096})->Args({8, 8, 65536})->Args({64, 32, 22})->Args({128, 16, 256});
  bench->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(forward, f32, Dtype::f32)->Apply(shapes);
BENCHMARK_CAPTURE(gated_forward, f32, Dtype::f32)->Apply(shapes);
BENCHMARK_CAPTURE(backward, f32, Dtype::f32)->Apply(shapes);
BENCHMARK_CAPTURE(gated_backward, f32, Dtype::f32)->Apply(shapes);
BENCHMARK_CAPTURE(gated_forward, bf16, Dtype::bf16)->Apply(shapes);
BENCHMARK_CAPTURE(gated_backward, bf16, Dtype::bf16)->Apply(shapes);

}  // namespace
}  // namespace mara
