#include "io/guard.h"

#include <fstream>

#include "core/error.h"
#include "core/thrown.h"
#include "io/files.h"
#include "io/hash.h"

namespace mara::io {
namespace {

class GuardTest : public testing::Test {
 protected:
  /// A sealed file of 512 + 4,000 bytes.
  std::filesystem::path sealed(const std::vector<ByteRange>& excluded = {}) {
    const std::filesystem::path path = folder_ / "file";
    std::string content(kGuardBytes + 4000, '\0');
    for (size_t i = kGuardBytes; i < content.size(); ++i) content[i] = static_cast<char>(i * 37 % 251);
    write_file(path, content);
    seal(path, FileKind::checkpoint, excluded);
    return path;
  }
  std::string complaint(const std::filesystem::path& path, FileKind kind = FileKind::checkpoint) {
    const std::string text = message_of<Error>([&] { verify(path, kind); });
    EXPECT_TRUE(text == "nothing was thrown" || text.find(path.string() + ": ") == 0) << text;
    return text;
  }

  TemporaryFolder folder_;
};

TEST_F(GuardTest, AcceptsWhatIsWhole) {
  const Guard guard = verify(sealed(), FileKind::checkpoint);
  EXPECT_EQ(guard.length, kGuardBytes + 4000);
  EXPECT_TRUE(guard.excluded.empty());
}

TEST_F(GuardTest, IsTheLayoutItsHeaderStates) {
  const std::string bytes = read_file(sealed({{600, 700}}));
  const auto number = [&](size_t at) { return *reinterpret_cast<const uint64_t*>(bytes.data() + at); };
  EXPECT_EQ(bytes.substr(0, 8), "\x89MARA\r\n\x1a");
  EXPECT_EQ(number(8), 1u | uint64_t{1} << 32);  // version and kind
  EXPECT_EQ(number(16), 4512u);
  const std::string guarded = bytes.substr(512, 88) + bytes.substr(700);
  EXPECT_EQ(number(24), xxh3(guarded.data(), guarded.size()));
  EXPECT_EQ(number(32), 1u);
  EXPECT_EQ(number(40), 600u);
  EXPECT_EQ(number(48), 700u);
  for (size_t i = 56; i < 504; ++i) ASSERT_EQ(bytes[i], 0);
  EXPECT_EQ(number(504), xxh3(bytes.data(), 504));
}

TEST_F(GuardTest, SeesEveryFlippedBit) {
  const std::filesystem::path path = sealed();
  const std::string good = read_file(path);
  for (size_t bit = 0; bit < good.size() * 8; bit += bit < 8 * kGuardBytes ? 1 : 61) {
    write_byte(path, bit / 8, static_cast<char>(good[bit / 8] ^ 1 << bit % 8));
    ASSERT_NE(complaint(path), "nothing was thrown") << bit;
    write_byte(path, bit / 8, good[bit / 8]);
  }
}

TEST_F(GuardTest, LeavesExcludedBytesToOthers) {
  const std::vector<ByteRange> excluded{{512, 600}, {1000, 2000}, {2000, 2001}, {4500, 4512}};
  const std::filesystem::path path = sealed(excluded);
  EXPECT_EQ(verify(path, FileKind::checkpoint).excluded, excluded);
  const std::string good = read_file(path);
  for (size_t at = kGuardBytes; at < good.size(); ++at) {
    write_byte(path, at, static_cast<char>(good[at] + 1));
    const bool out = std::any_of(excluded.begin(), excluded.end(), [&](ByteRange range) {
      return static_cast<int64_t>(at) >= range.begin && static_cast<int64_t>(at) < range.end;
    });
    ASSERT_EQ(complaint(path) == "nothing was thrown", out) << at;
    write_byte(path, at, good[at]);
  }
}

TEST_F(GuardTest, SeesEveryTruncation) {
  const std::filesystem::path path = sealed();
  const std::string good = read_file(path);
  for (size_t size = 0; size < good.size(); size += 1 + size / 50) {
    write_file(path, good.substr(0, size));
    const std::string text = complaint(path);
    ASSERT_NE(text.find(size < 8 ? "does not begin with Mara's mark" : "cut short"), std::string::npos) << text;
  }
  write_file(path, good + "x");
  EXPECT_NE(complaint(path).find("appended"), std::string::npos);
}

TEST_F(GuardTest, NamesWhatIsNotOurs) {
  EXPECT_NE(complaint(folder_ / "absent").find("No such file"), std::string::npos);
  EXPECT_NE(complaint(folder_.path()).find("a folder"), std::string::npos);
  EXPECT_NE(complaint("/dev/zero").find("a regular file is required"), std::string::npos);
  write_file(folder_ / "foreign", std::string(10000, 'x'));
  EXPECT_NE(complaint(folder_ / "foreign").find("this is not one"), std::string::npos);
  EXPECT_NE(complaint(sealed(), FileKind::shard).find("a token shard is required, this is a checkpoint"),
            std::string::npos);
}

/// A block that is consistent in itself, with one number of it changed.
TEST_F(GuardTest, TellsTheKindOfAFile) {
  const std::filesystem::path path = sealed();
  EXPECT_EQ(kind_of(path), FileKind::checkpoint);
  write_file(folder_ / "text", std::string(1000, 'a'));
  write_file(folder_ / "short", read_file(path).substr(0, 100));
  for (const char* none : {"text", "short", "absent", ""}) EXPECT_EQ(kind_of(folder_ / none), std::nullopt) << none;
}

TEST_F(GuardTest, DoesNotTrustTheNumbersInTheBlock) {
  const std::string good = read_file(sealed({{600, 700}, {800, 900}}));
  const auto with = [&](size_t at, uint64_t value) {
    std::string bad = good;
    bad.replace(at, 8, reinterpret_cast<const char*>(&value), 8);
    const uint64_t hash = xxh3(bad.data(), 504);
    bad.replace(504, 8, reinterpret_cast<const char*>(&hash), 8);
    write_file(folder_ / "bad", bad);
    return complaint(folder_ / "bad");
  };
  EXPECT_EQ(with(16, 4512), "nothing was thrown");  // control: unchanged
  EXPECT_NE(with(8, 2u | uint64_t{1} << 32).find("this is version 2"), std::string::npos);
  EXPECT_NE(with(8, 1u | uint64_t{77} << 32).find("this is a kind 77"), std::string::npos);
  EXPECT_NE(with(16, ~uint64_t{0}).find("cut short"), std::string::npos);
  for (const auto& [at, value] : std::vector<std::pair<size_t, uint64_t>>{
           {32, 17}, {32, ~uint64_t{0}}, {40, 0}, {40, 701}, {48, 4513}, {48, ~uint64_t{0}}, {56, 699}, {64, 1}}) {
    EXPECT_NE(with(at, value).find("not in the file or not in order"), std::string::npos) << at;
  }
  EXPECT_NE(with(24, 1).find("do not have the checksum"), std::string::npos);
}

}  // namespace
}  // namespace mara::io
