#include "data/shard.h"

#include <array>
#include <functional>

#include "data/shards.h"
#include "io/hash.h"

namespace mara::data {
namespace {

using Documents = std::vector<uint64_t>;

TEST(Shard, ReadsWhatWasWritten) {
  const TemporaryFolder folder;
  ShardWriter writer(folder.path(), "train", bytes(), "by hand", 1000);
  writer.append(std::array{10, 20});
  writer.append(std::array{255});
  writer.end_document();
  writer.end_document();  // of a document without tokens: nothing
  writer.append(std::array{0});
  writer.end_document();
  writer.finish();
  EXPECT_EQ(writer.shards(), 1);
  EXPECT_EQ(writer.documents(), 2);
  EXPECT_EQ(writer.tokens(), 6);
  const ShardReader shard(folder / "train-00000.h5");
  EXPECT_EQ(read_all(shard), (std::vector{10, 20, 255, 256, 0, 256}));
  EXPECT_EQ(shard.documents(), (Documents{0, 4, 6}));
  EXPECT_EQ(shard.info().tokenizer, "bytes");
  EXPECT_EQ(shard.info().vocabulary, 257);
  EXPECT_EQ(shard.info().separator, 256);
  EXPECT_EQ(shard.info().source, "by hand");
  EXPECT_EQ(shard.bytes_per_token(), 2);
  std::vector<int32_t> part(3);
  shard.read(2, part);
  EXPECT_EQ(part, (std::vector{255, 256, 0}));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1) << "nothing else is left";
}

TEST(Shard, WritingNothingMakesNoShard) {
  const TemporaryFolder folder;
  ShardWriter writer(folder.path(), "train", bytes(), "", 1000);
  writer.end_document();
  writer.finish();
  EXPECT_EQ(writer.shards(), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Shard, FullShardsCutDocuments) {
  const TemporaryFolder folder;
  ShardWriter writer(folder.path(), "a", bytes(), "", 4);
  for (const std::vector<int32_t>& document : std::vector<std::vector<int32_t>>{{1, 2, 3}, {4, 5, 6, 7, 8, 9}, {10}}) {
    writer.append(document);
    writer.end_document();
  }
  writer.finish();
  EXPECT_EQ(writer.documents(), 3);
  ASSERT_EQ(writer.shards(), 4);
  const ShardReader first(folder / "a-00000.h5"), second(folder / "a-00001.h5"), third(folder / "a-00002.h5");
  EXPECT_EQ(read_all(first), (std::vector{1, 2, 3, 256}));
  EXPECT_EQ(first.documents(), (Documents{0, 4}));
  EXPECT_EQ(read_all(second), (std::vector{4, 5, 6, 7}));
  EXPECT_EQ(second.documents(), (Documents{0, 4}));
  EXPECT_EQ(read_all(third), (std::vector{8, 9, 256, 10}));
  EXPECT_EQ(third.documents(), (Documents{0, 3, 4}));
  EXPECT_EQ(read_all(ShardReader(folder / "a-00003.h5")), (std::vector{256}));
}

/// A tokenizer whose ids take four bytes.
struct Large : Tokenizer {
  std::string name() const override { return "large"; }
  uint64_t hash() const override { return 1; }
  int64_t vocabulary() const override { return 100'001; }
  int32_t separator() const override { return 100'000; }
  void encode(std::string_view, std::vector<int32_t>&) const override {}
  std::string decode(std::span<const int32_t>) const override { return ""; }
  int64_t bytes(int32_t) const override { return 1; }
};

TEST(Shard, LargeVocabulariesTakeFourBytes) {
  const TemporaryFolder folder;
  const Large tokenizer;
  ShardWriter writer(folder.path(), "train", tokenizer, "", 1000);
  writer.append(std::array{70'000, 3});
  writer.end_document();
  writer.finish();
  const ShardReader shard(folder / "train-00000.h5");
  EXPECT_EQ(shard.bytes_per_token(), 4);
  EXPECT_EQ(read_all(shard), (std::vector{70'000, 3, 100'000}));
}

TEST(Shard, BlocksAreCheckedWhenFirstRead) {
  const TemporaryFolder folder;
  const int64_t tokens = kBlockTokens + 1000;
  write_shards(folder.path(), "train", tokens);
  const std::filesystem::path path = folder / "train-00000.h5";
  EXPECT_EQ(ShardReader(path).checksums().size(), 2u);
  EXPECT_NO_THROW(ShardReader(path).verify());
  std::string content = read_file(path);
  std::string second_block;
  for (int64_t i = kBlockTokens; i < kBlockTokens + 8; ++i) second_block += {static_cast<char>(noise(i)), '\0'};
  const size_t at = content.rfind(second_block);
  ASSERT_NE(at, std::string::npos);
  content[at] ^= 1;
  write_file(path, content);

  const ShardReader shard(path);
  std::vector<int32_t> one(1), across(4);
  shard.read(kBlockTokens - 1, one);
  EXPECT_EQ(one[0], noise(kBlockTokens - 1));
  const std::string message = error_of([&] { shard.read(kBlockTokens - 2, across); });
  expect_parts(message, {path.string(), "tokens 1048576 to 1049575", "checksum", "copy it again"});
  error_of([&] { shard.read(kBlockTokens + 500, one); });
  error_of([&] { shard.verify(); });
}

/// Everything a shard says, or the error that opening and verifying it ends in.
std::string content_of(const std::filesystem::path& path) {
  try {
    const ShardReader shard(path);
    shard.verify();
    const ShardInfo& info = shard.info();
    std::string out = detail::join({info.tokenizer, info.tokenizer_xxh3, info.vocabulary, info.separator, info.source});
    for (const int32_t id : read_all(shard)) out.append(" ").append(std::to_string(id));
    for (const uint64_t start : shard.documents()) out.append(" ").append(std::to_string(start));
    return out;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << "names the file: " << error.what();
    return "error";
  }
}

TEST(Shard, EveryBitFlipIsDetected) {
  const TemporaryFolder folder;
  write_shards(folder.path(), "train", 60);
  const std::filesystem::path path = folder / "train-00000.h5";
  const std::string content = read_file(path);
  const std::string whole = content_of(path);
  ASSERT_NE(whole, "error");
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const auto put = [&](size_t at, char byte) {
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
    file.flush();
  };
  for (size_t at = 0; at < content.size(); ++at) {
    put(at, static_cast<char>(content[at] ^ (1 << at % 8)));
    EXPECT_EQ(content_of(path), "error") << "byte " << at;
    put(at, content[at]);
  }
  EXPECT_EQ(content_of(path), whole);  // control: all flips were undone
}

TEST(Shard, EveryTruncationIsAnError) {
  const TemporaryFolder folder;
  write_shards(folder.path(), "train", 60);
  const std::filesystem::path path = folder / "train-00000.h5";
  const std::string content = read_file(path);
  for (size_t size = 0; size < content.size(); size += size < 20 ? 1 : 37) {
    write_file(path, content.substr(0, size));
    EXPECT_EQ(content_of(path), "error") << size;
  }
  write_file(path, content + "x");
  EXPECT_EQ(content_of(path), "error");
}

/// A shard as someone else might write it: valid but for what `change` breaks.
struct Foreign {
  std::string format = "mara-tokens", position = "after";
  int64_t version = 1, vocabulary = 257, separator = 256, num_tokens = 4;
  io::ElementType type = io::ElementType::u16;
  std::vector<uint16_t> tokens{1, 2, 3, 256};
  Documents documents{0, 4};
  bool guard_tokens = false, with_checksums = true;

  void write(const std::filesystem::path& path) const {
    io::Hdf5Writer file(path, 1000);
    file.attribute("format", format);
    file.attribute("format_version", version);
    file.attribute("tokenizer", "bytes");
    file.attribute("tokenizer_xxh3", io::hash_text(bytes().hash()));
    file.attribute("vocab_size", vocabulary);
    file.attribute("separator_id", separator);
    file.attribute("separator_position", position);
    file.attribute("num_tokens", num_tokens);
    file.attribute("source", "");
    const int64_t count = static_cast<int64_t>(tokens.size()) * 2 / io::size_of(type);
    const io::Dataset data = file.add("tokens", type, {count}, tokens.data());
    file.add("documents", io::ElementType::u64, {static_cast<int64_t>(documents.size())}, documents.data());
    const uint64_t checksum = io::xxh3(tokens.data(), 2 * tokens.size());
    if (with_checksums) file.add("checksums", io::ElementType::u64, {1}, &checksum);
    file.finish(io::FileKind::shard, guard_tokens ? std::vector<io::Dataset>{} : std::vector{data});
  }
};

TEST(Shard, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  int number = 0;
  const auto message = [&](const std::function<void(Foreign&)>& change) {
    const std::filesystem::path path = folder / (std::to_string(number++) + ".h5");
    Foreign foreign;
    change(foreign);
    foreign.write(path);
    const std::string text = error_of([&] { ShardReader(path).verify(); });
    expect_parts(text, {path.string()});
    return text;
  };
  Foreign().write(folder / "good.h5");
  EXPECT_EQ(read_all(ShardReader(folder / "good.h5")), (std::vector{1, 2, 3, 256}));  // control

  expect_parts(message([](Foreign& f) { f.format = "other"; }), {"'mara-tokens'", "'other'"});
  expect_parts(message([](Foreign& f) { f.version = 2; }), {"version 1 is required, got 2"});
  expect_parts(message([](Foreign& f) { f.position = "before"; }), {"separator_position", "'before'"});
  expect_parts(message([](Foreign& f) { f.vocabulary = 0; }), {"vocab_size", "got 0"});
  expect_parts(message([](Foreign& f) { f.separator = 257; }), {"separator_id", "257"});
  expect_parts(message([](Foreign& f) { f.num_tokens = 5; }), {"holds 4 tokens", "says 5"});
  expect_parts(message([](Foreign& f) { f.type = io::ElementType::f32; }), {"tokens", "u32", "f32"});
  expect_parts(message([](Foreign& f) { f.documents = {0, 3}; }), {"'documents' must rise from 0 to num_tokens 4"});
  expect_parts(message([](Foreign& f) { f.documents = {0, 2, 2, 4}; }), {"'documents' must rise"});
  expect_parts(message([](Foreign& f) { f.documents = {0}; }), {"'documents' must have from 2 to num_tokens + 1"});
  expect_parts(message([](Foreign& f) { f.guard_tokens = true; }), {"guard must cover all but the tokens"});
  expect_parts(message([](Foreign& f) { f.with_checksums = false; }), {"checksums is missing"});
  expect_parts(message([](Foreign& f) { f.tokens = {1, 300, 3, 256}; }), {"tokens 0 to 3", "the id 300", "257"});
}

TEST(Shard, ForeignFilesAreRefused) {
  const TemporaryFolder folder;
  write_file(folder / "text.h5", std::string(3000, 'x'));
  write_file(folder / "empty.h5", "");
  for (const std::string name : {"text.h5", "empty.h5", "missing.h5", ""}) {
    const std::filesystem::path path = name.empty() ? folder.path() : folder / name;
    expect_parts(error_of([&] { ShardReader shard(path); }), {path.string()});
  }
}

}  // namespace
}  // namespace mara::data
