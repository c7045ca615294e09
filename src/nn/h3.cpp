#include "nn/h3.h"

#include "nn/outer_product.h"
#include "ops/fft_conv.h"
#include "ops/ssm.h"

namespace mara::nn {
namespace {

struct State final : MixerState {
  State() = default;
  State(const State& other) : keys(other.keys->clone()) {
    for (const auto& memory : other.memories) memories.push_back(memory->clone());
  }
  std::unique_ptr<MixerState> clone() const override { return std::make_unique<State>(*this); }

  std::unique_ptr<StreamingConv> keys;                   // (D, B, T)
  std::vector<std::unique_ptr<StreamingConv>> memories;  // of entry i of every head's k: (heads, d B, T)
};

// q, k or v of the stacked ones (3 D, B, L).
enum Part { kQuery, kKey, kValue };
Tensor part_of(const Tensor& qkv, Part part) {
  const int64_t width = qkv.size(0) / 3;
  return qkv.narrow(part * width, width);
}

}  // namespace

H3Layer::H3Layer(const char* kind, const MixerSetup& setup, int64_t heads)
    : setup_(setup),
      heads_(heads),
      kind_(kind),
      in_proj_(child("in_proj", std::make_unique<Linear>(setup.width, 3 * setup.width, Init::normal(setup.init_std)))),
      out_proj_(child("out_proj", std::make_unique<Linear>(setup.width, setup.width, Init::normal(setup.init_std)))),
      key_skip_(param("key_skip", {setup.width}, Init::normal(1), kVector)),
      skip_(param("skip", {heads}, Init::normal(1), kVector)) {}

Tensor H3Layer::forward(const Tensor& x, const Context& context) {
  refuse_segments_and_mask(kind_, context);
  const Tensor qkv = in_proj_.forward_to_channels(x);
  const Filters f = filters(x.size(1), context.training);
  const Tensor keys = ops::fft_conv(part_of(qkv, kKey), f.key, {.skip = key_skip()});
  const auto convolve = [&](int64_t, const Tensor& u, const Tensor& gate_in, const Tensor& gate_out) {
    return ops::fft_conv(u, f.memory, {.reverse = f.reverse, .skip = skip(), .gate_in = gate_in, .gate_out = gate_out});
  };
  return out_proj_.forward_from_channels(
      outer_product_heads(part_of(qkv, kQuery), keys, part_of(qkv, kValue), heads_, convolve));
}

std::unique_ptr<MixerState> H3Layer::start(int64_t batch, int64_t max_length) const {
  require_causal(kind_, setup_);
  const int64_t size = setup_.width / heads_;
  auto state = std::make_unique<State>();
  state->keys = key_stream(batch, max_length);
  state->memories.push_back(memory_stream(size * batch, max_length));
  while (static_cast<int64_t>(state->memories.size()) < size) state->memories.push_back(state->memories[0]->clone());
  return state;
}

Tensor H3Layer::prefill(const Tensor& x, MixerState& mixer_state) const {
  State& state = dynamic_cast<State&>(mixer_state);
  const Tensor qkv = in_proj_.forward_to_channels(x);
  const Tensor keys = state.keys->advance(part_of(qkv, kKey));
  const auto convolve = [&](int64_t i, const Tensor& u, const Tensor& gate_in, const Tensor& gate_out) {
    return state.memories[static_cast<size_t>(i)]->advance(u, gate_in, gate_out);
  };
  return out_proj_.forward_from_channels(
      outer_product_heads(part_of(qkv, kQuery), keys, part_of(qkv, kValue), heads_, convolve));
}

void H3Options::fields(config::Fields& f, const MixerSetup& setup) {
  f.field("head_dim", head_dim, "channels of a head; must divide the model's width", config::at_least(1));
  f.field("shift_state", shift_state, "taps of the shift system, which filters the keys", config::between(1, 1 << 20));
  const bool divides = setup.width % head_dim == 0;
  f.require(divides, "head_dim",
            "must divide the model's width " + std::to_string(setup.width) + ", got " + std::to_string(head_dim));
  f.group(
      "ssm", [&] { ssm.fields(f, divides ? setup.width / head_dim : 1); }, "the diagonal systems, one per head");
}

std::unique_ptr<SequenceMixer> H3Options::make(const MixerSetup& setup) const {
  return std::make_unique<H3>(*this, setup);
}

H3::H3(const H3Options& options, const MixerSetup& setup)
    : H3Layer("h3", setup, setup.width / options.head_dim),
      options_(options),
      shift_b_(param("shift_b", {setup.width, options.shift_state},
                     Init::values([n = options.shift_state](int64_t i) { return i % n == 0 ? 1.0 : 0.0; }),
                     options.ssm.hints())),
      shift_c_(param("shift_c", {setup.width, options.shift_state}, Init::fan_in(options.shift_state),
                     {.precision = Precision::f32})),
      ssm_(child("ssm", std::make_unique<DiagonalSsm>(options.ssm, heads_, setup.directions()))) {}

H3Layer::Filters H3::filters(int64_t length, bool) const {
  const int64_t taps = std::min(length, options_.shift_state);
  const Tensor memory = ssm_.filter(length);
  return {.key = ops::shift_ssm_filter(shift_b_.value(), shift_c_.value(), taps),
          .memory = memory.narrow(0, heads_),
          .reverse = setup_.causal ? Tensor() : ops::shifted_by_one(memory.narrow(heads_, heads_))};
}

std::unique_ptr<StreamingConv> H3::key_stream(int64_t batch, int64_t) const {
  const Tensor taps = ops::shift_ssm_filter(shift_b_.value(), shift_c_.value(), options_.shift_state);
  return std::make_unique<WindowConv>(taps, key_skip(), batch);
}

std::unique_ptr<StreamingConv> H3::memory_stream(int64_t batch, int64_t) const {
  return std::make_unique<SystemConv>(ssm_.discrete(), skip(), batch);
}

}  // namespace mara::nn
