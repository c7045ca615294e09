// Every mixer, one line each.

#include <stdexcept>

#include "nn/attention.h"
#include "nn/hyena.h"
#include "nn/mixer.h"

namespace mara::nn {
namespace {

struct Entry {
  const char* kind;
  std::shared_ptr<MixerOptions> (*make)();
};

template <class Options>
std::shared_ptr<MixerOptions> make() {
  return std::make_shared<Options>();
}

constexpr Entry kMixers[] = {
    {"attention", &make<AttentionOptions>},
    {"hyena", &make<HyenaOptions>},
};

}  // namespace

void MixerConfig::fields(config::Fields& f, const MixerSetup& setup) {
  std::vector<std::string> kinds;
  for (const Entry& entry : kMixers) kinds.push_back(entry.kind);
  std::string bound = options != nullptr ? kind : "";
  f.kind("kind", kind, kinds, "what mixes along the sequence", [&](const std::string& name) {
    for (const Entry& entry : kMixers) {
      if (name == entry.kind && name != bound) options = entry.make();
    }
    bound = name;
    options->fields(f, setup);
  });
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

}  // namespace mara::nn
