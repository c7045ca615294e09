#include "nn/attention.h"

#include <cmath>

#include "kernels/kernels.h"
#include "nn/sequence_cache.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/norm.h"
#include "ops/shape_ops.h"

namespace mara::nn {
namespace {

struct State final : MixerState {
  State(const Shape& shape, Dtype dtype, Device device) : keys(shape, dtype, device), values(shape, dtype, device) {}
  std::unique_ptr<MixerState> clone() const override { return std::make_unique<State>(*this); }

  SequenceCache keys, values;  // (B, H, L, C)
};

enum Part { kQuery, kKey, kValue };

// (B, T, 3 H C) -> (B, H, T, C), a strided view.
Tensor heads_of(const Tensor& qkv, Part part, int64_t heads) {
  const int64_t batch = qkv.size(0), length = qkv.size(1), row = qkv.size(2), size = row / (3 * heads);
  return qkv.strided({batch, heads, length, size}, {length * row, size, row, 1}, part * heads * size);
}

// (B, H, M, N) as a batch of B H matrices; every (M, N) of a sequence cache lies at the same distance from the next.
Tensor matrices(const Tensor& x) {
  return x.strided({x.size(0) * x.size(1), x.size(2), x.size(3)}, {x.strides()[1], x.strides()[2], x.strides()[3]}, 0);
}

Tensor product(const Tensor& a, const Tensor& b, Dtype out) {
  Tensor c = Tensor::empty({a.size(0), a.size(1), b.size(2)}, out, a.device());
  auto [k, stream] = kernels::on(a.device());
  k.matmul(stream, {.a = a.view(), .b = b.view(), .c = c.view()});
  return c;
}

// (T, T + before): 0 where position before + i may look, a large negative number where not.
Tensor causal_mask(int64_t length, int64_t before, Dtype dtype, Device device) {
  const int64_t columns = before + length;
  std::vector<double> mask(static_cast<size_t>(length * columns), 0.0);
  for (int64_t i = 0; i < length; ++i) {
    for (int64_t j = before + i + 1; j < columns; ++j) mask[static_cast<size_t>(i * columns + j)] = -1e30;
  }
  return Tensor::from(mask, {length, columns}, dtype, device);
}

}  // namespace

void AttentionOptions::fields(config::Fields& f, const MixerSetup& setup) {
  f.field("heads", heads, "number of heads; must divide the model's width", config::at_least(1));
  f.field("bias", bias, "biases in both projections");
  f.field("rotary_dim", rotary_dim, "entries of each head that rotary positions turn; 0: all of them",
          config::at_least(0));
  f.require(setup.width % heads == 0, "heads",
            "must divide the model's width " + std::to_string(setup.width) + ", got " + std::to_string(heads));
  if (setup.rotary_base <= 0) return;
  const int64_t head_size = setup.width / heads, turned = rotary_dim > 0 ? rotary_dim : head_size;
  f.require(turned % 2 == 0 && turned <= head_size, "rotary_dim",
            "must be even and at most the head size " + std::to_string(head_size) + ", got " + std::to_string(turned) +
                (rotary_dim > 0 ? "" : "; choose a width and heads that make the head size even"));
}

std::unique_ptr<SequenceMixer> AttentionOptions::make(const MixerSetup& setup) const {
  return std::make_unique<Attention>(*this, setup);
}

Attention::Attention(const AttentionOptions& options, const MixerSetup& setup)
    : options_(options),
      setup_(setup),
      in_proj_(child("in_proj", std::make_unique<Linear>(setup.width, 3 * setup.width, Init::normal(setup.init_std),
                                                         Linear::Options{.bias = options.bias}))),
      out_proj_(child("out_proj", std::make_unique<Linear>(setup.width, setup.width, Init::normal(setup.output_std),
                                                           Linear::Options{.bias = options.bias}))) {
  if (options_.rotary_dim == 0) options_.rotary_dim = setup.width / options.heads;
}

Tensor Attention::forward(const Tensor& x, const Context& context) {
  refuse_segments_and_mask("attention", context);
  return out_proj_.forward(ops::attention(project(x, 0), options_.heads, setup_.causal));
}

Tensor Attention::project(const Tensor& x, int64_t position) const {
  const Tensor qkv = in_proj_.forward(x);
  if (setup_.rotary_base <= 0) return qkv;
  return ops::rotary(qkv, options_.heads, options_.rotary_dim, setup_.rotary_base, position);
}

std::unique_ptr<MixerState> Attention::start(int64_t batch, int64_t max_length) const {
  require_causal("attention", setup_);
  const Shape shape{batch, options_.heads, max_length, setup_.width / options_.heads};
  return std::make_unique<State>(shape, in_proj_.dtype(), in_proj_.device());
}

Tensor Attention::prefill(const Tensor& x, MixerState& mixer_state) const {
  State& state = dynamic_cast<State&>(mixer_state);
  const int64_t batch = x.size(0), length = x.size(1), before = state.keys.size(), heads = options_.heads;
  const Tensor qkv = project(x, before);
  state.keys.append(heads_of(qkv, kKey, heads));
  state.values.append(heads_of(qkv, kValue, heads));
  if (before == 0) return out_proj_.forward(ops::attention(qkv, heads, true));

  const Tensor queries = matrices(ops::contiguous(heads_of(qkv, kQuery, heads)));
  const Tensor keys = ops::transpose(matrices(state.keys.seen()), 1, 2), values = matrices(state.values.seen());
  Tensor scores = product(queries, keys, compute_dtype(x.dtype()));
  scores = ops::scale(scores, 1.0 / std::sqrt(static_cast<double>(queries.size(2))));
  if (length > 1) scores = ops::add(scores, causal_mask(length, before, scores.dtype(), x.device()));
  const Tensor mixed = product(ops::cast(ops::softmax(scores), x.dtype()), values, x.dtype());
  const Tensor rows = ops::permute(mixed.reshape({batch, heads, length, queries.size(2)}), {0, 2, 1, 3});
  return out_proj_.forward(ops::contiguous(rows).reshape({batch, length, setup_.width}));
}

}  // namespace mara::nn
