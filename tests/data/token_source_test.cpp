#include "data/token_source.h"

#include "data/shards.h"

namespace mara::data {
namespace {

std::vector<int32_t> tokens_of(const TokenSource& source, int64_t first, int64_t count) {
  std::vector<int32_t> out(static_cast<size_t>(count));
  source.read(first, out);
  return out;
}

TEST(TokenSource, ShardsEndToEnd) {
  const TemporaryFolder folder;
  write_shards(folder.path(), "whole", 1000);
  write_shards(folder.path(), "cut", 1000, 64);  // 16 shards
  const TokenSource whole({(folder / "whole-*.h5").string()}, bytes(), "--data");
  const TokenSource cut({(folder / "cut-*.h5").string()}, bytes(), "--data");
  EXPECT_EQ(cut.shards().size(), 16u);
  EXPECT_EQ(cut.tokens(), 1000);
  EXPECT_EQ(tokens_of(cut, 0, 1000), tokens_of(whole, 0, 1000));
  for (const int64_t first : {0, 1, 63, 64, 65, 500, 800}) {
    EXPECT_EQ(tokens_of(cut, first, 200), tokens_of(whole, first, 200)) << first;
  }
  EXPECT_EQ(tokens_of(cut, 999, 1), (std::vector{256}));
}

TEST(TokenSource, WindowsHoldTheNextToken) {
  const TemporaryFolder folder;
  write_shards(folder.path(), "cut", 300, 64);
  const TokenSource source({(folder / "cut-*.h5").string()}, bytes(), "--data");
  std::vector<int32_t> ids(100), targets(100);
  source.window(199, ids, targets);
  EXPECT_EQ(ids, tokens_of(source, 199, 100));
  EXPECT_EQ(targets, tokens_of(source, 200, 100));
}

TEST(TokenSource, FilesComeInTheOrderOfPatternsAndNames) {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& prefix, int32_t id) {
    ShardWriter writer(folder.path(), prefix, bytes(), "", 1000);
    writer.append(std::array{id});
    writer.finish();
  };
  for (const auto& [prefix, id] :
       std::vector<std::pair<std::string, int32_t>>{{"b", 2}, {"a_", 1}, {"B", 3}, {"c", 4}}) {
    write(prefix, id);
  }
  const TokenSource all({(folder / "[aBb]*").string()}, bytes(), "--data");
  EXPECT_EQ(tokens_of(all, 0, 3), (std::vector{3, 1, 2}));  // by bytes, whatever the locale
  const TokenSource two({(folder / "c-00000.h5").string(), (folder / "a*").string()}, bytes(), "--data");
  EXPECT_EQ(tokens_of(two, 0, 2), (std::vector{4, 1}));
  EXPECT_NE(all.hash(), two.hash());
  EXPECT_EQ(all.hash(), TokenSource({(folder / "[aBb]*").string()}, bytes(), "--data").hash());
}

TEST(TokenSource, SaysWhatIsMissing) {
  const TemporaryFolder folder;
  expect_parts(
      error_of([&] { TokenSource({(folder / "train-*.h5").string()}, bytes(), "--data"); }),
      {"no file is named", (folder / "train-*.h5").string(), "mara data tokenize", "or name others with --data"});
}

TEST(TokenSource, OtherTokenizersAreRefused) {
  struct Other : Tokenizer {
    std::string name() const override { return "bytes"; }
    uint64_t hash() const override { return 42; }
    int64_t vocabulary() const override { return 257; }
    int32_t separator() const override { return 256; }
    void encode(std::string_view, std::vector<int32_t>&) const override {}
    std::string decode(std::span<const int32_t>) const override { return ""; }
    int64_t bytes(int32_t) const override { return 1; }
  };
  const TemporaryFolder folder;
  write_shards(folder.path(), "train", 10);
  const std::string path = (folder / "train-00000.h5").string();
  expect_parts(error_of([&] { TokenSource({path}, Other(), "--data"); }), {path, "000000000000002a", "data.tokenizer"});
}

TEST(Segments, CountSeparators) {
  const std::vector<int32_t> ids{1, 2, 256, 3, 256, 256, 4};
  std::vector<int32_t> out(ids.size());
  segments(ids, 256, out);
  EXPECT_EQ(out, (std::vector{0, 0, 0, 1, 1, 2, 3}));
}

}  // namespace
}  // namespace mara::data
