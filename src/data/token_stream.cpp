#include "data/token_stream.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>

#include "core/error.h"
#include "io/hash.h"
#include "kernels/common/permutation.h"

namespace mara::data {
namespace {

constexpr int64_t kMaxRound = 100000;

}  // namespace

TokenStream::TokenStream(std::vector<TokenSource> sources, const std::vector<int64_t>& weights, uint64_t seed,
                         int64_t length, int64_t batch)
    : sources_(std::move(sources)),
      weights_(weights.empty() ? std::vector<int64_t>(sources_.size(), 1) : weights),
      key_(philox::key(seed, Purpose::order)),
      length_(length),
      batch_(batch) {
  MARA_ASSERT(weights_.size() == sources_.size() && !sources_.empty());
  for (const TokenSource& source : sources_) {
    MARA_CHECK(source.tokens() >= 2 * length, "data: at least ", 2 * length,
               " tokens are required to cut windows of data.length ", length, ", got ", source.tokens(), " from ",
               source.shards().front().path().string(), "; lower data.length or use more text");
  }
  int64_t factor = 0, sum = 0;
  for (const int64_t weight : weights_) factor = std::gcd(factor, weight);
  for (int64_t& weight : weights_) sum += weight /= factor;
  MARA_CHECK(sum <= kMaxRound, "data.weights: their sum must be at most ", kMaxRound,
             " after taking out common factors, got ", sum, "; use rounder numbers");
  std::vector<int64_t> taken(sources_.size());
  for (int64_t i = 0; i < sum; ++i) {
    const auto behind = [&](size_t s) { return weights_[s] * (i + 1) - sum * taken[s]; };
    size_t next = 0;
    for (size_t s = 1; s < sources_.size(); ++s) {
      if (behind(s) > behind(next)) next = s;
    }
    round_.push_back({next, taken[next]++});
  }
}

TokenStream::Sample TokenStream::sample(int64_t position) const {
  const int64_t round = position / static_cast<int64_t>(round_.size());
  const Turn& turn = round_[static_cast<size_t>(position % static_cast<int64_t>(round_.size()))];
  const int64_t number = round * weights_[turn.source] + turn.before;  // of this source's samples
  const int64_t windows = sources_[turn.source].tokens() / length_ - 1;
  const uint64_t epoch = static_cast<uint64_t>(number / windows);
  const uint64_t tweak = epoch | static_cast<uint64_t>(turn.source) << 48;
  const uint64_t window =
      permuted(key_, tweak, static_cast<uint64_t>(number % windows), static_cast<uint64_t>(windows));
  // Counters that begin with 0 to 5 are the permutation's.
  const philox::Block bits =
      philox::block(key_, {6, 0, static_cast<uint32_t>(tweak), static_cast<uint32_t>(tweak >> 32)});
  const int64_t start = philox::below(bits[0], static_cast<uint32_t>(length_));
  return {turn.source, start + static_cast<int64_t>(window) * length_};
}

uint64_t TokenStream::hash() const {
  io::Xxh3 hash;
  for (const TokenSource& source : sources_) {
    const uint64_t one = source.hash();
    hash.update(&one, sizeof one);
  }
  return hash.digest();
}

void TokenStream::fill(int64_t step, int rank, int world, std::span<int32_t> ids, std::span<int32_t> targets) const {
  MARA_ASSERT(batch_ % world == 0);
  const int64_t count = batch_ / world, first = step * batch_ + rank * count;
  const size_t length = static_cast<size_t>(length_);
  // Windows lie far apart in memory, and fetching one takes longer than copying it: a group of them is fetched at once.
  std::array<Sample, 16> group;
  for (int64_t begin = 0; begin < count; begin += std::ssize(group)) {
    const int64_t in_group = std::min(std::ssize(group), count - begin);
    for (int64_t i = 0; i < in_group; ++i) {
      const Sample at = group[static_cast<size_t>(i)] = sample(first + begin + i);
      sources_[at.source].prefetch(at.first, length_ + 1);
    }
    for (int64_t i = 0; i < in_group; ++i) {
      const Sample& at = group[static_cast<size_t>(i)];
      const size_t offset = static_cast<size_t>(begin + i) * length;
      sources_[at.source].window(at.first, ids.subspan(offset, length), targets.subspan(offset, length));
    }
  }
}

}  // namespace mara::data
