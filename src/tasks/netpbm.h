#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace mara::tasks {

struct GreyImage {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> pixels;  // row by row, 0 black to 255 white
};

/// A PGM or PPM file (P2, P3, P5, P6 with a maximum of at most 255); of colours the luma 0.299 R + 0.587 G + 0.114 B.
/// Throws Error for anything else.
GreyImage read_netpbm(const std::filesystem::path& path);

}  // namespace mara::tasks
