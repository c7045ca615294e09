// On the meta device a step is only counted: its work and its memory, without data.

#include <gtest/gtest.h>

#include "autograd/tape.h"
#include "core/random.h"
#include "kernels/observer.h"
#include "ops/attention.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/fft_conv.h"
#include "ops/gather.h"
#include "ops/loss.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/shape_ops.h"
#include "ops/short_conv.h"

namespace mara {
namespace {

// The flops of fn.
double flops(const std::function<void()>& fn) {
  kernels::FlopCounter counter;
  const kernels::ObserverScope scope(counter);
  fn();
  return counter.flops;
}

Tensor meta(const Shape& shape, Dtype dtype = Dtype::f32) { return Tensor::empty(shape, dtype, kMeta); }

TEST(Meta, CountsTheWorkOfAProduct) {
  const int64_t m = 1000000, n = 3000, k = 2000;
  const double product = 2.0 * static_cast<double>(m * n) * static_cast<double>(k);
  Tape tape;
  const Tensor a = tape.source(meta({m, k})), b = tape.source(meta({k, n}));
  Tensor c;
  EXPECT_EQ(flops([&] {
              const Recording recording(tape);
              c = ops::matmul(a, b);
            }),
            product);
  EXPECT_EQ(flops([&] { tape.backward(c, c.detach(), {}); }), 2 * product);
  EXPECT_EQ(tape.take_grad(a).shape(), (Shape{m, k}));
}

TEST(Meta, CountsMemory) {
  Pool pool(kMeta);
  const PoolScope scope(pool);
  const int64_t bytes = int64_t{1} << 32;
  Tape tape;
  const Tensor x = tape.source(meta({bytes / 2}, Dtype::bf16));
  EXPECT_EQ(x.view().data, nullptr);
  EXPECT_EQ(pool.live_bytes(), bytes);
  Tensor y;
  {
    const Recording recording(tape);
    y = ops::sin(ops::sin(x));
  }
  EXPECT_EQ(pool.live_bytes(), 3 * bytes);
  tape.backward(y, y.detach(), {});
  EXPECT_EQ(pool.live_bytes(), 3 * bytes);  // x, y and the gradient of x
  EXPECT_EQ(pool.peak_bytes(), 4 * bytes);
}

// A model no machine holds, through every family of ops.
TEST(Meta, TouchesNoData) {
  const int64_t batch = 64, length = 1 << 16, width = 1 << 12, vocabulary = 1 << 17;
  Tape tape;
  const Tensor table = tape.source(meta({vocabulary, width}, Dtype::bf16));
  const Tensor qkv = tape.source(meta({3 * width, width}, Dtype::bf16));
  const Tensor taps = tape.source(meta({width, 3})), filter = tape.source(meta({width, length}));
  const Tensor ids = meta({batch, length}, Dtype::i32), targets = meta({batch * length}, Dtype::i32);
  RandomStream stream;  // its step is not read
  const RandomScope random(stream);
  Tensor loss;
  const double forward = flops([&] {
    const Recording recording(tape);
    Tensor h = ops::embedding(table, ids, Dtype::bf16);
    h = ops::add(h, ops::attention(ops::rotary(ops::linear(h, qkv), 32, 64, 1e4), 32, true));
    Tensor u = ops::linear_to_channels(ops::rms_norm(h, {}, 1e-5, Dtype::bf16), qkv.narrow(0, width));
    u = ops::fft_conv(ops::short_conv(u, taps, {}), filter, {.gate_in = u, .gate_out = u});
    h = ops::dropout(ops::contiguous(ops::permute(ops::concat({u, u}, 0), {1, 2, 0})), 0.1);
    h = ops::contiguous(ops::slice(h, 2, 0, width)).reshape({batch * length, width});
    loss = ops::linear_cross_entropy(ops::softmax(h), table, targets, true).sum;
  });
  EXPECT_GT(flops([&] { tape.backward(loss); }), 0);
  EXPECT_GT(forward, 0);
  for (const Tensor& parameter : {table, qkv, taps, filter}) {
    EXPECT_EQ(tape.take_grad(parameter).shape(), parameter.shape());
  }
  EXPECT_THROW(loss.item(), std::logic_error);
}

}  // namespace
}  // namespace mara
