#pragma once

#include "nn/free_filter.h"
#include "nn/h3.h"

namespace mara::nn {

struct H3ConvOptions : MixerOptions {
  FreeFilterOptions filter{.dropout = 0.2};

  void fields(config::Fields& f, const MixerSetup& setup) override;
  std::unique_ptr<SequenceMixer> make(const MixerSetup& setup) const override;
};

/// H3 with taps that are parameters instead of systems (H3-conv, Fu et al., 2302.06646), heads of one channel, both
/// filters as long as the sequence. Generating keeps the inputs of both convolutions: O(t D) work for position t, and
/// 2 L D numbers per sequence.
class H3Conv : public H3Layer {
 public:
  H3Conv(const H3ConvOptions& options, const MixerSetup& setup);

 private:
  Filters filters(int64_t length, bool training) const override;
  std::unique_ptr<StreamingConv> key_stream(int64_t batch, int64_t max_length) const override;
  std::unique_ptr<StreamingConv> memory_stream(int64_t batch, int64_t max_length) const override;

  FreeFilter &key_filter_, &memory_filter_;
};

}  // namespace mara::nn
