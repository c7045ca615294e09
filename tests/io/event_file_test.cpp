#include "io/event_file.h"

#include <gmock/gmock.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <iterator>

#include "core/error.h"
#include "temporary_folder.h"

namespace mara::io {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(Crc32c, KnownAnswers) {  // RFC 3720, B.4, and the usual check value
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  std::string rising;
  for (char c = 0; c < 32; ++c) rising += c;
  EXPECT_EQ(crc32c(rising), 0x46dd794eu);
}

// A reader of its own, bit by bit where the writer has tables.
uint32_t slow_masked_crc(const std::string& bytes) {
  uint32_t crc = 0xffffffff;
  for (const char c : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const bool flip = ((crc ^ (static_cast<unsigned char>(c) >> bit)) & 1) != 0;
      crc = (crc >> 1) ^ (flip ? 0x82f63b78 : 0);
    }
  }
  crc ^= 0xffffffff;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8;
}

template <class T>
T number_at(const std::string& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// The complete records, checksums compared.
std::vector<std::string> records_of(const std::string& bytes) {
  std::vector<std::string> out;
  for (size_t at = 0; at + 12 <= bytes.size();) {
    const auto length = number_at<uint64_t>(bytes, at);
    EXPECT_EQ(number_at<uint32_t>(bytes, at + 8), slow_masked_crc(bytes.substr(at, 8)));
    if (at + 16 + length > bytes.size()) break;
    out.push_back(bytes.substr(at + 12, length));
    EXPECT_EQ(number_at<uint32_t>(bytes, at + 12 + length), slow_masked_crc(out.back()));
    at += 16 + length;
  }
  return out;
}

// Fields of a message: number and raw value (of a varint its 8 bytes).
std::vector<std::pair<int, std::string>> fields_of(const std::string& message) {
  std::vector<std::pair<int, std::string>> out;
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(message.at(at++));
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.size()) {
    const uint64_t key = varint();
    uint64_t length = 0;
    switch (key & 7) {
      case 0: {
        const uint64_t value = varint();
        out.emplace_back(key >> 3, std::string(reinterpret_cast<const char*>(&value), 8));
        continue;
      }
      case 1:
        length = 8;
        break;
      case 2:
        length = varint();
        break;
      case 5:
        length = 4;
        break;
      default:
        ADD_FAILURE() << "wire type " << (key & 7);
    }
    out.emplace_back(key >> 3, message.substr(at, length));
    at += length;
  }
  return out;
}

std::string field(const std::string& message, int number) {
  for (const auto& [key, value] : fields_of(message)) {
    if (key == number) return value;
  }
  return "";
}

std::vector<std::pair<std::string, float>> scalars_of(const std::string& event) {
  std::vector<std::pair<std::string, float>> out;
  for (const auto& [key, value] : fields_of(field(event, 5))) {
    EXPECT_EQ(key, 1);
    out.emplace_back(field(value, 1), number_at<float>(field(value, 2), 0));
  }
  return out;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(EventFile, ReadBackByAnotherParser) {
  const TemporaryFolder folder;
  EventFile file(folder.path(), 301);
  file.write(301, {{"loss", 2.5}, {"lr", 1e-3}});
  file.write(int64_t{1} << 40, {{"valid/accuracy", 0.5}});
  file.write(400, {{"loss", std::nan("")}});

  const std::string bytes = read(file.path());  // while it is open: nothing waits in a buffer
  const std::vector<std::string> events = records_of(bytes);
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(field(events[0], 3), "brain.Event:2");
  EXPECT_EQ(number_at<uint64_t>(field(events[1], 2), 0), 301u);
  EXPECT_EQ(number_at<uint64_t>(field(field(events[1], 7), 1), 0), 1u);  // session_log.status START
  EXPECT_EQ(number_at<uint64_t>(field(events[2], 2), 0), 301u);
  EXPECT_THAT(scalars_of(events[2]), ElementsAre(Pair("loss", 2.5f), Pair("lr", 1e-3f)));
  EXPECT_EQ(number_at<uint64_t>(field(events[3], 2), 0), uint64_t{1} << 40);
  EXPECT_THAT(scalars_of(events[3]), ElementsAre(Pair("valid/accuracy", 0.5f)));
  EXPECT_TRUE(std::isnan(scalars_of(events[4])[0].second));
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_NEAR(number_at<double>(field(events[2], 1), 0), now, 60);

  // Cut anywhere, all complete records are there.
  for (size_t length = 0; length <= bytes.size(); ++length) {
    size_t complete = 0, end = 0;
    for (const std::string& event : events) complete += (end += 16 + event.size()) <= length;
    EXPECT_EQ(records_of(bytes.substr(0, length)).size(), complete) << length;
  }
}

TEST(EventFile, NeverAnExistingFile) {
  const TemporaryFolder folder;
  EventFile first(folder.path(), 1), second(folder.path(), 1);
  EXPECT_NE(first.path(), second.path());
  EXPECT_THAT(first.path().filename().string(), testing::StartsWith("events.out.tfevents."));
}

TEST(EventFile, SaysWhatItCannotWrite) { EXPECT_THROW(EventFile("/nowhere/at/all", 1), Failure); }

}  // namespace
}  // namespace mara::io
