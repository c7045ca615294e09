#include "nn/attention.h"

#include "ops/attention.h"

namespace mara::nn {

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
  Tensor qkv = in_proj_.forward(x);
  if (setup_.rotary_base > 0) qkv = ops::rotary(qkv, options_.heads, options_.rotary_dim, setup_.rotary_base);
  return out_proj_.forward(ops::attention(qkv, options_.heads, setup_.causal));
}

}  // namespace mara::nn
