// Every mixer, one line each.

#include <stdexcept>

#include "config/kinds.h"
#include "nn/attention.h"
#include "nn/h3.h"
#include "nn/h3_conv.h"
#include "nn/hyena.h"
#include "nn/long_conv.h"
#include "nn/mixer.h"
#include "nn/multi_hyena.h"
#include "nn/s4.h"

namespace mara::nn {
namespace {

constexpr config::Kind<MixerOptions> kMixers[] = {
    config::kind<MixerOptions, AttentionOptions>("attention"),
    config::kind<MixerOptions, H3Options>("h3"),
    config::kind<MixerOptions, H3ConvOptions>("h3_conv"),
    config::kind<MixerOptions, HyenaOptions>("hyena"),
    config::kind<MixerOptions, LongConvOptions>("long_conv"),
    config::kind<MixerOptions, MultiHyenaOptions>("multi_hyena"),
    config::kind<MixerOptions, S4Options>("s4"),
    config::kind<MixerOptions, S4dOptions>("s4d"),
};

}  // namespace

void MixerConfig::fields(config::Fields& f, const MixerSetup& setup) {
  config::bind_kind(f, kMixers, kind, options, "what mixes along the sequence", setup);
}

std::unique_ptr<MixerState> SequenceMixer::start(int64_t, int64_t) const {
  throw Error("generating: this kind of mixer cannot go on position by position; use one of another kind");
}
Tensor SequenceMixer::prefill(const Tensor&, MixerState&) const {
  throw std::logic_error("internal error: a mixer that starts must also go on");
}

void refuse_segments_and_mask(const char* mixer, const Context& context) {
  MARA_CHECK(!context.segments.defined() && !context.mask.defined(), mixer,
             ": cannot keep documents or padding of one row apart; give one document per row, without a mask");
}
void require_causal(const char* mixer, const MixerSetup& setup) {
  MARA_CHECK(
      setup.causal, mixer,
      ": generating needs a causal model, this one looks at later positions too; train one with model.causal: true");
}

}  // namespace mara::nn
