#include "data/token_stream.h"

#include <algorithm>
#include <map>
#include <set>

#include "data/shards.h"

namespace mara::data {
namespace {

class TokenStreams : public testing::Test {
 protected:
  /// One source per size.
  TokenStream stream(const std::vector<int64_t>& sizes, const std::vector<int64_t>& weights, uint64_t seed = 1,
                     int64_t length = 16, int64_t batch = 8) {
    std::vector<TokenSource> sources;
    for (const int64_t size : sizes) {
      const std::string prefix = "source" + std::to_string(size);
      if (!std::filesystem::exists(folder_ / (prefix + "-00000.h5"))) write_shards(folder_.path(), prefix, size);
      sources.emplace_back(std::vector{(folder_ / (prefix + "-*")).string()}, bytes(), "--data");
    }
    return {std::move(sources), weights, seed, length, batch};
  }

  TemporaryFolder folder_;
};

std::vector<TokenStream::Sample> samples(const TokenStream& stream, int64_t first, int64_t count) {
  std::vector<TokenStream::Sample> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(stream.sample(first + i));
  return out;
}

std::vector<int32_t> ids_of(const TokenStream& stream, int64_t step, int rank = 0, int world = 1) {
  std::vector<int32_t> ids(static_cast<size_t>(stream.batch() / world * stream.length())), targets(ids.size());
  stream.fill(step, rank, world, ids, targets);
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    if ((i + 1) % static_cast<size_t>(stream.length()) == 0) continue;
    EXPECT_EQ(targets[i], ids[i + 1]);
  }
  return ids;
}

TEST_F(TokenStreams, ArePure) {
  const TokenStream a = stream({2000}, {}), b = stream({2000}, {}), other = stream({2000}, {}, 2);
  ids_of(a, 31);
  EXPECT_EQ(ids_of(a, 7), ids_of(b, 7));
  EXPECT_NE(ids_of(a, 7), ids_of(b, 8));
  EXPECT_NE(ids_of(a, 7), ids_of(other, 7));
}

TEST_F(TokenStreams, FillIsWhatTheSamplesSay) {
  const TokenStream s = stream({2000, 3000}, {1, 2}, 1, 16, 40);  // more than are fetched at once
  const std::vector<int32_t> ids = ids_of(s, 3);
  for (int64_t i = 0; i < 40; ++i) {
    const TokenStream::Sample at = s.sample(3 * 40 + i);
    for (int64_t t = 0; t < 16; ++t) EXPECT_EQ(ids[static_cast<size_t>(16 * i + t)], noise(at.first + t));
  }
}

TEST_F(TokenStreams, AnEpochHoldsEveryWindowOnce) {
  const int64_t windows = 2000 / 16 - 1;
  const TokenStream s = stream({2000}, {});
  std::set<int64_t> starts;
  std::vector<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 12; ++epoch) {
    std::vector<int64_t> order, expected(static_cast<size_t>(windows));
    for (const auto& sample : samples(s, epoch * windows, windows)) order.push_back(sample.first / 16);
    const int64_t start = s.sample(epoch * windows).first % 16;
    for (const auto& sample : samples(s, epoch * windows, windows)) EXPECT_EQ(sample.first % 16, start);
    starts.insert(start);
    orders.push_back(order);
    std::sort(order.begin(), order.end());
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(order, expected);
    EXPECT_LE(start + windows * 16 + 1, 2000);  // the last window is inside
  }
  EXPECT_GT(starts.size(), 4u);
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_FALSE(std::is_sorted(orders[0].begin(), orders[0].end()));
}

TEST_F(TokenStreams, TheSetOfAStepDoesNotDependOnTheWorld) {
  const TokenStream s = stream({2000, 700}, {3, 1});
  for (int64_t step = 0; step < 40; ++step) {
    const std::vector<int32_t> whole = ids_of(s, step);
    for (const int world : {1, 2, 4, 8}) {
      std::vector<int32_t> together;
      for (int rank = 0; rank < world; ++rank) {
        const std::vector<int32_t> part = ids_of(s, step, rank, world);
        together.insert(together.end(), part.begin(), part.end());
      }
      EXPECT_EQ(together, whole) << step << " of " << world;
    }
    EXPECT_NE(ids_of(s, step, 0, 2), ids_of(s, step, 1, 2));  // control
  }
}

TEST_F(TokenStreams, ProportionsAreExactInEveryRound) {
  const std::vector<int64_t> weights{7, 2, 3, 1};
  const TokenStream s = stream({2000, 700, 900, 500}, weights);
  const int64_t round = 13;
  const auto all = samples(s, 0, 20 * round);
  for (size_t first = 0; first + round <= all.size(); ++first) {
    std::vector<int64_t> count(4);
    for (size_t i = first; i < first + round; ++i) ++count[all[i].source];
    ASSERT_EQ(count, weights) << "from " << first;
  }
  // Spread out: after any number of samples no source is a whole sample ahead or behind.
  std::vector<double> taken(4);
  for (size_t i = 0; i < all.size(); ++i) {
    ++taken[all[i].source];
    for (size_t k = 0; k < 4; ++k) {
      EXPECT_LT(std::abs(taken[k] - static_cast<double>(weights[k]) * static_cast<double>(i + 1) / round), 1.0);
    }
  }
}

TEST_F(TokenStreams, EverySourceHasItsOwnEpochs) {
  const TokenStream s = stream({2000, 700}, {30, 10});  // 3 to 1
  std::map<size_t, std::vector<int64_t>> of_source;
  for (const auto& sample : samples(s, 0, 400)) of_source[sample.source].push_back(sample.first / 16);
  EXPECT_EQ(of_source[0].size(), 300u);
  EXPECT_EQ(of_source[1].size(), 100u);
  for (const auto& [source, windows] : std::map<size_t, size_t>{{0, 2000 / 16 - 1}, {1, 700 / 16 - 1}}) {
    for (size_t epoch = 0; (epoch + 1) * windows <= of_source[source].size(); ++epoch) {
      const auto begin = of_source[source].begin() + static_cast<std::ptrdiff_t>(epoch * windows);
      EXPECT_EQ(std::set<int64_t>(begin, begin + static_cast<std::ptrdiff_t>(windows)).size(), windows);
    }
  }
}

TEST_F(TokenStreams, WeightsWithoutACommonFactorAreTheSame) {
  EXPECT_EQ(samples(stream({2000, 700}, {2, 6}), 0, 50), samples(stream({2000, 700}, {1, 3}), 0, 50));
  EXPECT_NE(samples(stream({2000, 700}, {1, 3}), 0, 50), samples(stream({2000, 700}, {3, 1}), 0, 50));
}

TEST_F(TokenStreams, SayWhatCannotBe) {
  expect_parts(error_of([&] { stream({31}, {}); }),
               {"at least 32 tokens", "data.length 16", "got 31", "source31-00000.h5"});
  EXPECT_NO_THROW(stream({32}, {}).sample(100));
  expect_parts(error_of([&] { stream({2000, 700}, {1, 1'000'003}); }), {"data.weights", "1000004", "rounder"});
}

}  // namespace
}  // namespace mara::data
