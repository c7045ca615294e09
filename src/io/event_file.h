#pragma once
// Event files of TensorBoard (tensorflow/core/util/event.proto, tensorflow/core/lib/io/record_writer.h).

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace mara::io {

struct Scalar {
  std::string tag;  // "loss", "valid/accuracy"
  double value = 0;
};

/// A new file events.out.tfevents.* in `folder`. Every write reaches the system at once: what a killed process leaves
/// is readable up to its last write.
class EventFile {
 public:
  /// `first_step`: the first that will be written. TensorBoard drops what earlier files of the folder have from there
  /// on, so that a resumed run goes on where it was taken up.
  EventFile(const std::filesystem::path& folder, int64_t first_step);

  /// Steps rise. Throws Failure.
  void write(int64_t step, const std::vector<Scalar>& scalars);

  const std::filesystem::path& path() const { return path_; }

 private:
  void write_record(const std::string& event);

  std::filesystem::path path_;
  std::ofstream file_;
};

/// CRC-32C (Castagnoli).
uint32_t crc32c(std::string_view bytes);

}  // namespace mara::io
