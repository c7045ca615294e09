#include "nn/h3_conv.h"

#include "ops/fft_conv.h"

namespace mara::nn {

void H3ConvOptions::fields(config::Fields& f, const MixerSetup&) {
  f.group("filter", filter, "the long filters, of keys and of products");
}

std::unique_ptr<SequenceMixer> H3ConvOptions::make(const MixerSetup& setup) const {
  return std::make_unique<H3Conv>(*this, setup);
}

H3Conv::H3Conv(const H3ConvOptions& options, const MixerSetup& setup)
    : H3Layer("h3_conv", setup, setup.width),
      key_filter_(child("key_filter", std::make_unique<FreeFilter>(options.filter, setup.width, 1, setup.max_length))),
      memory_filter_(child("memory_filter", std::make_unique<FreeFilter>(options.filter, setup.width,
                                                                         setup.directions(), setup.max_length))) {}

H3Layer::Filters H3Conv::filters(int64_t length, bool training) const {
  const Tensor memory = memory_filter_.taps(length, training);
  return {.key = key_filter_.taps(length, training),
          .memory = memory.narrow(0, heads_),
          .reverse = setup_.causal ? Tensor() : ops::shifted_by_one(memory.narrow(heads_, heads_))};
}

std::unique_ptr<StreamingConv> H3Conv::key_stream(int64_t batch, int64_t max_length) const {
  return std::make_unique<HistoryConv>(key_filter_.taps(max_length, false), key_skip(), batch);
}

std::unique_ptr<StreamingConv> H3Conv::memory_stream(int64_t batch, int64_t max_length) const {
  return std::make_unique<HistoryConv>(memory_filter_.taps(max_length, false), skip(), batch);
}

}  // namespace mara::nn
