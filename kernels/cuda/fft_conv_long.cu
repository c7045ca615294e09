// Long convolution in three phases: what goes through them at a time. See fft_conv_long.cuh.
//
// A group of rows passes all phases before the next enters, so that work space is bounded: whole channels, or part of
// the batch where one channel is more. The sums of such a channel are carried from group to group. Filters are
// transformed for some channels at a time, before their groups, and their gradients after them.

#include <algorithm>
#include <bit>

#include "kernels/cuda/fft_conv_long.cuh"
#include "kernels/cuda/fft_conv_long.h"

namespace mara::kernels::cuda::long_rows {
namespace {

/// Beyond what a block can hold; shorter rows would be half padding. Longer ones come in parts.
constexpr int64_t kShortest = 32769, kPart = int64_t{1} << 20, kLongest = 4 * kPart;

/// Scratch of a group, of one or two regions: launches that fill the GPU several times over. A third of it, which an L2
/// cache would keep, is 2 to 4 % slower: bytes do not bind.
int64_t group_bytes(int regions) { return int64_t{regions == 1 ? 96 : 128} << 20; }

Radices radices_for(int64_t length) {
  switch (std::max<uint64_t>(std::bit_ceil(static_cast<uint64_t>(length)), 65536) / 65536) {
    case 1:
      return {1, 1};
    case 2:
      return {2, 1};
    case 4:
      return {2, 2};
    case 8:
      return {4, 2};
    default:
      return {4, 4};
  }
}

template <class Args>
bool takes_problem(const Args& a) {
  return code_capability() >= 90 && a.form == ConvForm::causal && a.u.dtype == Dtype::bf16 &&
         a.u.size(2) >= kShortest && a.u.size(2) <= kLongest && a.u.size(2) % 8 == 0 && a.u.numel() > 0;
}

/// Passes of filters' transforms, of 32 MB of scratch each, whose spectra there are at a time: with one the last groups
/// and passes would be small.
constexpr int64_t kPasses = 3;

/// Calls body(first, count) for parts of [0, count) as equal as can be, of at most `most`.
template <class Body>
void in_parts(int64_t count, int64_t most, const Body& body) {
  const int64_t parts = ceil_div(count, std::max<int64_t>(most, 1));
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = count * part / parts;
    body(begin, static_cast<int>(count * (part + 1) / parts - begin));
  }
}

/// The work space of a call, and its loops.
class Work {
 public:
  Work(Stream& stream, const View& u, const View& k_reverse, int regions)
      : stream_(stream),
        channels_(u.size(0)),
        batches_(u.size(1)),
        length_(u.size(2)),
        parts_(static_cast<int>(ceil_div(length_, kPart))),
        regions_(regions),
        radices_(radices_for(length_)),
        filter_parts_{k_reverse ? 1 - parts_ : 0, k_reverse ? 2 * parts_ - 1 : parts_},
        rows_(std::clamp<int64_t>(group_bytes(regions) / row_bytes(), 1, channels_ * batches_)),
        filters_(std::clamp<int64_t>((32 << 20) / (8 * radices_.points()), 1, channels_)),
        group_(std::clamp<int64_t>(rows_ / batches_, 1, channels_)),
        chunk_(std::min(group_ * std::max<int64_t>(kPasses * filters_ / group_, 1), channels_)),
        scratch_(stream.scratch<uint32_t>(std::max(rows_ * row_bytes(), filters_ * 8 * radices_.points()) / 4)),
        exponents_(stream.scratch<int>(rows_ * regions * parts_ * radices_.lines())),
        values_(stream.scratch<uint4>(spectra_points() / 4)),
        filter_exponents_(stream.scratch<int>(chunk_ * (filter_parts_.count * radices_.rows() + 1))) {}

  /// Of the spectra of a chunk, or of its sums.
  int64_t spectra_points() const { return chunk_ * filter_parts_.count * radices_.points(); }

  /// Calls body(chunk) for some channels after the other.
  template <class Body>
  void for_each_chunk(const Body& body) const {
    in_parts(channels_, chunk_, [&](int64_t first, int count) {
      FilterParts parts = filter_parts_;
      parts.channel = first;
      int* const exponents = filter_exponents_;
      body(Chunk{*this, first, count, {values_, exponents, exponents + chunk_ * parts.count * radices_.rows(), parts}});
    });
  }

  /// Channels whose filters' spectra there are at a time.
  struct Chunk {
    const Work& work;
    int64_t first;
    int count;
    Spectra spectra;

    void transform_filters(const Taps& taps) const {
      in_parts(count, work.filters_, [&](int64_t from, int some) {
        long_rows::transform_filters(work.stream_, taps, work.radices_, work.length_, first + from, some, work.points(),
                                     spectra);
      });
    }
    void transform_gradients(const GradientSums& sums, const Taps& gradients) const {
      in_parts(count, work.filters_, [&](int64_t from, int some) {
        long_rows::transform_gradients(work.stream_, sums, work.radices_, work.length_, first + from, some,
                                       work.points(), gradients);
      });
    }
    /// Calls body(group) for all their rows in turn.
    template <class Body>
    void for_each_group(const Body& body) const {
      in_parts(count, work.group_, [&](int64_t channel, int channels) {
        in_parts(work.batches_, work.rows_, [&](int64_t batch, int batches) {
          body(Group{work.scratch_, work.exponents_, first + channel, batch, channels, batches, work.parts_,
                     static_cast<int>(work.length_), work.radices_});
        });
      });
    }
  };

 private:
  int64_t row_bytes() const { return 4 * radices_.points() * parts_ * regions_; }
  float2* points() const { return reinterpret_cast<float2*>(scratch_.get()); }

  Stream& stream_;
  int64_t channels_, batches_, length_;
  int parts_, regions_;
  Radices radices_;
  FilterParts filter_parts_;
  int64_t rows_, filters_, group_, chunk_;  // rows of a group; channels
  Stream::Scratch<uint32_t> scratch_;
  Stream::Scratch<int> exponents_;
  Stream::Scratch<uint4> values_;
  Stream::Scratch<int> filter_exponents_;
};

using Rows = ChannelRows<bfloat16>;

}  // namespace

bool takes(const FftConvForward& a) { return takes_problem(a) && all_take_16_bytes(a.u, a.gate_in, a.gate_out, a.y); }
bool takes(const FftConvBackward& a) {
  return takes_problem(a) && all_take_16_bytes(a.dy, a.u, a.gate_in, a.gate_out, a.du, a.dgate_in, a.dgate_out);
}

void forward(Stream& stream, const FftConvForward& a) {
  const Work work(stream, a.u, a.k_reverse, 1);
  const Source x{Rows(a.u), Rows(a.gate_in)};
  const Target y{{Rows(a.y), {}}, {Rows(a.gate_out), {}}};
  work.for_each_chunk([&](const Work::Chunk& chunk) {
    chunk.transform_filters(Taps(a.k, a.k_reverse, a.skip));
    chunk.for_each_group([&](const Group& group) {
      enter(stream, group, &x, 1);
      multiply(stream, group, chunk.spectra);
      leave(stream, group, chunk.spectra, &y, 0, 1);
    });
  });
}

void backward(Stream& stream, const FftConvBackward& a) {
  const bool dx = a.du || a.dgate_in, c = static_cast<bool>(a.dgate_out);
  Taps gradients(a.dk, a.dk_reverse, a.dskip);
  gradients.accumulate = a.accumulate_k, gradients.accumulate_reverse = a.accumulate_k_reverse;
  gradients.accumulate_skip = a.accumulate_skip;
  if (!dx && !c && !gradients.any()) return;
  const Work work(stream, a.u, a.k_reverse, 2);
  const Source sources[2] = {{Rows(a.dy), Rows(a.gate_out)}, {Rows(a.u), Rows(a.gate_in)}};
  const Target targets[2] = {{{Rows(a.du), Rows(a.dgate_in)}, {Rows(a.gate_in), Rows(a.u)}},
                             {{Rows(a.dgate_out), {}}, {Rows(a.dy), {}}}};
  const auto values = stream.scratch<float4>(gradients.any() ? work.spectra_points() / 2 : 0);
  work.for_each_chunk([&](const Work::Chunk& chunk) {
    chunk.transform_filters(Taps(a.k, a.k_reverse, a.skip));
    const GradientSums sums{gradients.any() ? values.get() : nullptr, chunk.spectra.parts};
    chunk.for_each_group([&](const Group& group) {
      enter(stream, group, sources, 2);
      multiply_backward(stream, group, chunk.spectra, dx, c, sums, group.first_batch == 0);
      if (dx || c) leave(stream, group, chunk.spectra, targets + !dx, dx ? 0 : 1, dx + c);
    });
    if (gradients.any()) chunk.transform_gradients(sums, gradients);
  });
}

}  // namespace mara::kernels::cuda::long_rows
