#include "data/tokenize.h"

#include <sys/resource.h>

#include <set>

#include "data/shards.h"

namespace mara::data {
namespace {

class Tokenize : public testing::Test {
 protected:
  TokenizeOptions options(const std::vector<std::string>& contents) {
    TokenizeOptions out{.out = folder_ / "out"};
    for (const std::string& content : contents) {
      out.files.push_back(folder_ / ("file" + std::to_string(out.files.size())));
      write_file(out.files.back(), content);
    }
    return out;
  }
  /// The text of a split, | for separators.
  std::string text(const std::string& split) const {
    std::string out;
    const TokenSource source({(folder_ / "out" / (split + "-*.h5")).string()}, bytes(), "--data");
    std::vector<int32_t> ids(static_cast<size_t>(source.tokens()));
    source.read(0, ids);
    for (const int32_t id : ids) out += id == 256 ? '|' : static_cast<char>(id);
    return out;
  }
  std::string error(const TokenizeOptions& o) {
    const std::set<std::filesystem::path> before = entries();
    const std::string message = error_of([&] { tokenize(o); });
    EXPECT_EQ(entries(), before) << "nothing is left behind";
    return message;
  }
  std::set<std::filesystem::path> entries() const {
    using Entries = std::filesystem::recursive_directory_iterator;
    return {Entries(folder_.path()), Entries()};
  }

  TemporaryFolder folder_;
};

TEST_F(Tokenize, AFileIsADocument) {
  const TokenizeReport report = tokenize(options({"one", "", "two\n"}));
  EXPECT_EQ(text("train"), "one|two\n|");
  EXPECT_EQ(report.train.documents, 2);
  EXPECT_EQ(report.train.tokens, 9);
  EXPECT_EQ(report.train.shards, 1);
  EXPECT_EQ(report.valid.shards, 0);
  EXPECT_EQ(report.bytes, 7);
  EXPECT_EQ(report.empty, (std::vector{folder_ / "file1"}));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/valid-00000.h5"));
}

TEST_F(Tokenize, AFileCountsOnce) {
  TokenizeOptions o = options({"one", "one"});
  std::filesystem::create_symlink("file0", folder_ / "link");
  o.files.push_back(folder_ / "link");
  o.files.push_back(folder_ / "../" / folder_.path().filename() / "file1");
  EXPECT_EQ(tokenize(o).repeated, (std::vector{o.files[2], o.files[3]}));
  EXPECT_EQ(text("train"), "one|one|");  // equal files are still two
}

TEST_F(Tokenize, AnyBytes) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  tokenize(options({all}));
  const ShardReader shard(folder_ / "out/train-00000.h5");
  std::vector<int32_t> expected(257);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(read_all(shard), expected);
  EXPECT_EQ(shard.info().source, "file0");
}

TEST_F(Tokenize, PiecesOfAFileAreDocuments) {
  TokenizeOptions o = options({"a--b--", "--c"});
  o.document_separator = "--";
  EXPECT_EQ(tokenize(o).train.documents, 3);
  EXPECT_EQ(text("train"), "a|b|c|");
}

TEST_F(Tokenize, ShardsHaveTheirSize) {
  TokenizeOptions o = options({std::string(2500, 'x')});
  o.shard_tokens = 1024;
  EXPECT_EQ(tokenize(o).train.shards, 3);
  EXPECT_EQ(text("train"), std::string(2500, 'x') + "|");
}

TEST_F(Tokenize, TheTailOfEveryFileIsHeldOut) {
  TokenizeOptions o = options({"0123456789", "abcdefghijklmnopqrst"});
  o.valid_tail = 0.1;
  tokenize(o);
  EXPECT_EQ(text("train"), "012345678|abcdefghijklmnopqr|");
  EXPECT_EQ(text("valid"), "9|st|");
}

TEST_F(Tokenize, TheTailIsCutByBytesWhateverTheDocuments) {
  TokenizeOptions o = options({"aaa-bbb-cc"});
  o.valid_tail = 0.5;
  o.document_separator = "-";
  tokenize(o);
  EXPECT_EQ(text("train"), "aaa|b|");
  EXPECT_EQ(text("valid"), "bb|cc|");
}

/// The documents of a split.
std::set<std::string> pieces(const std::string& text) {
  std::set<std::string> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('|', begin);
    out.insert(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

TEST_F(Tokenize, AFractionIsChosenByTheText) {
  std::string file, reversed;
  for (int i = 0; i < 400; ++i) {
    const std::string document = "document " + std::to_string(i) + "\n";
    file += document + "--";
    reversed = document + "--" + reversed;
  }
  TokenizeOptions o = options({file, file});  // every document twice
  o.document_separator = "--";
  o.valid_fraction = 0.25;
  const TokenizeReport report = tokenize(o);
  EXPECT_EQ(report.train.documents + report.valid.documents, 800);
  EXPECT_NEAR(static_cast<double>(report.valid.documents), 200, 4 * 18);
  const std::set<std::string> train = pieces(text("train")), valid = pieces(text("valid"));
  EXPECT_EQ(train.size() + valid.size(), 400u) << "copies stay together";
  std::filesystem::rename(folder_ / "out", folder_ / "first");
  o.files = options({reversed}).files;
  tokenize(o);
  EXPECT_EQ(pieces(text("valid")), valid) << "order does not matter";
}

TEST_F(Tokenize, SaysWhatCannotBeSplit) {
  TokenizeOptions few = options({"a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s"});
  few.document_separator = "-";
  few.valid_fraction = 0.5;
  expect_parts(error(few), {"--valid-fraction needs at least 20", "got 19", "--valid-tail"});
  write_file(few.files[0], read_file(few.files[0]) + "-t");
  EXPECT_EQ(tokenize(few).train.shards, 1);  // control: 20 are enough
  few.out = folder_ / "none";
  few.valid_fraction = 1e-9;
  expect_parts(error(few), {"of 20 documents", "holds out 0", "--valid-tail"});
  TokenizeOptions tiny = options({"abc"});
  tiny.out = folder_ / "tiny";
  tiny.valid_tail = 1e-9;
  EXPECT_EQ(tokenize(tiny).valid.tokens, 2);  // rounded up
  tiny.out = folder_ / "tiny2";
  tiny.valid_tail = 0.99;
  expect_parts(error(tiny), {"of 3 bytes", "leaves nothing for training"});
  tiny.valid_fraction = 0.5;
  expect_parts(error(tiny), {"not both"});
}

TEST_F(Tokenize, SaysWhatItCannotRead) {
  expect_parts(error(options({"", ""})), {"there is no text in file0, file1"});
  TokenizeOptions missing = options({"text"});
  missing.files.push_back(folder_ / "missing");
  expect_parts(error(missing), {(folder_ / "missing").string(), "cannot be read"});
  missing.files.back() = folder_.path();
  expect_parts(error(missing), {folder_.path().string(), "folder"});
  TokenizeOptions unknown = options({"text"});
  unknown.tokenizer = "words";
  expect_parts(error(unknown), {"'bytes'", "'words'"});
}

TEST_F(Tokenize, KeepsWhatExists) {
  TokenizeOptions o = options({"new"});
  std::filesystem::create_directory(o.out);
  write_file(o.out / "mine", "precious");
  expect_parts(error(o), {o.out.string(), "exists", "--force"});
  EXPECT_EQ(read_file(o.out / "mine"), "precious");
  o.force = true;
  const TokenizeReport report = tokenize(o);
  EXPECT_EQ(report.moved_aside, o.out.string() + ".old-1");
  EXPECT_EQ(read_file(report.moved_aside / "mine"), "precious");
  EXPECT_EQ(text("train"), "new|");
  tokenize(o);
  EXPECT_TRUE(std::filesystem::exists(o.out.string() + ".old-2"));
  o.force = false;
  o.out = folder_ / "empty";
  std::filesystem::create_directory(o.out);
  EXPECT_NO_THROW(tokenize(o));  // an empty folder holds nothing to keep
  write_file(folder_ / "file", "x");
  o.out = folder_ / "file/out";
  expect_parts(error(o), {"cannot make", o.out.string()});
  o.out = folder_ / "file";
  expect_parts(error(o), {o.out.string(), "exists"});
}

TEST_F(Tokenize, ReportsProgress) {
  const TokenizeOptions o = options({std::string(3 << 20, 'x'), "y"});
  int64_t last = 0, calls = 0;
  tokenize(o, [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, (3 << 20) + 1);
    EXPECT_GE(done, last);
    last = done;
    ++calls;
  });
  EXPECT_EQ(last, (3 << 20) + 1);
  EXPECT_GE(calls, 4);
}

TEST_F(Tokenize, MemoryDoesNotGrowWithTheText) {
  const auto peak = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;  // KiB
  };
  TokenizeOptions o = options({"warm-up"});
  tokenize(o);
  o.out = folder_ / "large";
  {
    std::ofstream file(o.files[0], std::ios::binary);
    const std::string megabyte(1 << 20, 'x');
    for (int i = 0; i < 64; ++i) file << megabyte;
  }
  const int64_t before = peak();
  EXPECT_EQ(tokenize(o).train.tokens, (64 << 20) + 1);  // a shard of 128 MiB
  EXPECT_LT(peak() - before, 24 << 10);
}

}  // namespace
}  // namespace mara::data
