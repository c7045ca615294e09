#include "io/event_file.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>

#include "core/error.h"

namespace mara::io {
namespace {

// Wire types of protocol buffers (protobuf.dev/programming-guides/encoding): a field is its number and type, then
// the value.
enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void add_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

template <class Unsigned>
void add_fixed(std::string& out, Unsigned value) {
  for (size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> 8 * i);
}

void add_key(std::string& out, uint32_t field, Wire wire) { add_varint(out, field << 3 | wire); }

void add_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  add_key(out, field, kBytes);
  add_varint(out, bytes.size());
  out += bytes;
}

// Event {wall_time = 1, step = 2}; what happened is added by the caller.
std::string event_at(int64_t step) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  std::string out;
  add_key(out, 1, kFixed64);
  add_fixed(out, std::bit_cast<uint64_t>(now.count()));
  add_key(out, 2, kVarint);
  add_varint(out, static_cast<uint64_t>(step));
  return out;
}

// Checksums that are stored beside what they are of are rotated, so that a checksum of both means something.
uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8u; }

// TensorBoard reads a folder's files by name, and expects the time of the file's making in it.
std::filesystem::path new_name(const std::filesystem::path& folder) {
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  std::filesystem::path path;
  int number = 0;
  do {
    path = folder / detail::join({"events.out.tfevents.", seconds.count(), ".mara.", getpid(), ".", number++}).c_str();
  } while (std::filesystem::exists(path));
  return path;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
      table[i] = crc;
    }
    return table;
  }();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = crc >> 8 ^ kTable[(crc ^ static_cast<uint8_t>(c)) & 0xff];
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& folder, int64_t first_step)
    : path_(new_name(folder)), file_(path_, std::ios::binary) {
  std::string version = event_at(0);
  add_bytes(version, 3, "brain.Event:2");  // Event.file_version
  write_record(version);

  std::string start = event_at(first_step);
  std::string session_log;
  add_key(session_log, 1, kVarint);  // SessionLog.status = START
  add_varint(session_log, 1);
  add_bytes(start, 7, session_log);  // Event.session_log
  write_record(start);
}

void EventFile::write(int64_t step, const std::vector<Scalar>& scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars) {
    std::string value;
    add_bytes(value, 1, scalar.tag);  // Summary.Value.tag
    add_key(value, 2, kFixed32);      // Summary.Value.simple_value
    add_fixed(value, std::bit_cast<uint32_t>(static_cast<float>(scalar.value)));
    add_bytes(summary, 1, value);  // Summary.value
  }
  std::string event = event_at(step);
  add_bytes(event, 5, summary);  // Event.summary
  write_record(event);
}

// TFRecord: u64 length, its checksum, the bytes, their checksum; little-endian.
void EventFile::write_record(const std::string& event) {
  std::string record;
  add_fixed(record, static_cast<uint64_t>(event.size()));
  add_fixed(record, masked_crc32c(record));
  record += event;
  add_fixed(record, masked_crc32c(event));
  file_ << record << std::flush;
  if (!file_) throw Failure(path_.string() + ": cannot be written; is the disk full?");
}

}  // namespace mara::io
