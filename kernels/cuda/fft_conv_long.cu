// Long convolution in three phases: what goes through them at a time. See fft_conv_long.cuh.
//
// A group of rows passes all phases before the next enters, so that its scratch stays in the L2 cache: whole channels,
// or part of the batch where one channel is more. The sums of such a channel are carried from group to group.

#include <algorithm>
#include <bit>

#include "kernels/cuda/fft_conv_long.cuh"
#include "kernels/cuda/fft_conv_long.h"

namespace mara::kernels::cuda::long_rows {
namespace {

/// Beyond what a block can hold; shorter rows would be half padding.
constexpr int64_t kShortest = 32769, kLongest = int64_t{1} << 20;

/// Scratch of a group: what an L2 cache of 50 MB keeps beside the rows that stream through it; more backward with an
/// inner radix of 2, where less would leave too few k1 for the warps that have a place at a time.
int64_t group_bytes(const Radices& radices, int regions) {
  const int megabytes = regions == 1 ? (radices.inner == 1 ? 24 : 32) : (radices.inner == 2 ? 64 : 32);
  return int64_t{megabytes} << 20;
}

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
  Work(Stream& stream, const View& u, int regions)
      : stream_(stream),
        channels_(u.size(0)),
        batches_(u.size(1)),
        length_(u.size(2)),
        regions_(regions),
        radices_(radices_for(length_)),
        rows_(std::clamp<int64_t>(group_bytes(radices_, regions) / row_bytes(), 1, channels_ * batches_)),
        filters_(std::clamp<int64_t>((32 << 20) / (8 * radices_.points()), 1, std::min<int64_t>(channels_, 65535))),
        scratch_(stream.scratch<uint32_t>(std::max(rows_ * row_bytes(), filters_ * 8 * radices_.points()) / 4)),
        exponents_(stream.scratch<int>(rows_ * regions * radices_.lines())),
        values_(stream.scratch<uint4>(channels_ * radices_.points() / 4)),
        filter_exponents_(stream.scratch<int>(channels_ * (radices_.rows() + 1))) {}

  const Radices& radices() const { return radices_; }
  Spectra spectra() const {
    int* const exponents = filter_exponents_;
    return {values_, exponents, exponents + channels_ * radices_.rows()};
  }

  void transform_filters(const Taps& taps) const {
    in_parts(channels_, filters_, [&](int64_t first, int count) {
      long_rows::transform_filters(stream_, taps, radices_, length_, first, count, points(), spectra());
    });
  }
  void transform_gradients(const GradientSums& sums, const Taps& gradients) const {
    in_parts(channels_, filters_, [&](int64_t first, int count) {
      long_rows::transform_gradients(stream_, sums, radices_, length_, first, count, points(), gradients);
    });
  }
  /// Calls body(group) for all rows in turn.
  template <class Body>
  void for_each_group(const Body& body) const {
    in_parts(channels_, rows_ / batches_, [&](int64_t channel, int channels) {
      in_parts(batches_, rows_, [&](int64_t batch, int batches) {
        body(Group{scratch_, exponents_, channel, batch, channels, batches, static_cast<int>(length_), radices_});
      });
    });
  }

 private:
  int64_t row_bytes() const { return 4 * radices_.points() * regions_; }
  float2* points() const { return reinterpret_cast<float2*>(scratch_.get()); }

  Stream& stream_;
  int64_t channels_, batches_, length_;
  int regions_;
  Radices radices_;
  int64_t rows_, filters_;
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
  const Work work(stream, a.u, 1);
  work.transform_filters(Taps(a.k, a.k_reverse, a.skip));
  const Source x{Rows(a.u), Rows(a.gate_in)};
  const Target y{{Rows(a.y), {}}, {Rows(a.gate_out), {}}};
  work.for_each_group([&](const Group& group) {
    enter(stream, group, &x, 1);
    multiply(stream, group, work.spectra());
    leave(stream, group, work.spectra(), &y, 0, 1);
  });
}

void backward(Stream& stream, const FftConvBackward& a) {
  const bool dx = a.du || a.dgate_in, c = static_cast<bool>(a.dgate_out);
  Taps gradients(a.dk, a.dk_reverse, a.dskip);
  gradients.accumulate = a.accumulate_k, gradients.accumulate_reverse = a.accumulate_k_reverse;
  gradients.accumulate_skip = a.accumulate_skip;
  if (!dx && !c && !gradients.any()) return;
  const Work work(stream, a.u, 2);
  work.transform_filters(Taps(a.k, a.k_reverse, a.skip));
  const Source sources[2] = {{Rows(a.dy), Rows(a.gate_out)}, {Rows(a.u), Rows(a.gate_in)}};
  const Target targets[2] = {{{Rows(a.du), Rows(a.dgate_in)}, {Rows(a.gate_in), Rows(a.u)}},
                             {{Rows(a.dgate_out), {}}, {Rows(a.dy), {}}}};
  const auto sums = stream.scratch<float4>(gradients.any() ? a.u.size(0) * work.radices().points() / 2 : 0);
  const GradientSums all{gradients.any() ? sums.get() : nullptr};
  work.for_each_group([&](const Group& group) {
    enter(stream, group, sources, 2);
    multiply_backward(stream, group, work.spectra(), dx, c, all, group.first_batch == 0);
    if (dx || c) leave(stream, group, work.spectra(), targets + !dx, dx ? 0 : 1, dx + c);
  });
  if (gradients.any()) work.transform_gradients(all, gradients);
}

}  // namespace mara::kernels::cuda::long_rows
