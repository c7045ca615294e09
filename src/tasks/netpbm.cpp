#include "tasks/netpbm.h"

#include <cctype>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>

#include "core/error.h"

namespace mara::tasks {
namespace {

constexpr int64_t kLargestSide = 1 << 14;

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : name_(path.string()) {
    std::ifstream file(path, std::ios::binary);
    MARA_CHECK(file.is_open(), name_, ": cannot be read; an image is required");
    text_.assign(std::istreambuf_iterator<char>(file), {});
  }

  /// '2', '3', '5' or '6'.
  char kind() {
    const bool known = text_.size() > 2 && text_[0] == 'P' && std::string("2356").find(text_[1]) != std::string::npos;
    MARA_CHECK(known, name_, ": an image in PGM or PPM is required (P2, P3, P5, P6), this is none; convert it");
    at_ = 2;
    return text_[1];
  }
  /// A decimal number after blanks and comments, from `low` to `high`.
  int64_t number(const char* what, int64_t low, int64_t high) {
    while (at_ < text_.size() && (blank(text_[at_]) || text_[at_] == '#')) {
      const bool comment = text_[at_] == '#';
      do ++at_;
      while (comment && at_ < text_.size() && text_[at_] != '\n');
    }
    int64_t value = 0;
    const size_t begin = at_;
    for (; at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0 && value <= high; ++at_) {
      value = 10 * value + (text_[at_] - '0');
    }
    MARA_CHECK(at_ > begin && value >= low && value <= high, name_, ": ", what, " from ", low, " to ", high,
               " is required at byte ", begin, "; the file is damaged, or not an 8-bit image");
    return value;
  }
  /// The single blank before binary samples.
  void skip_blank() { ++at_; }
  int64_t byte() {
    MARA_CHECK(at_ < text_.size(), name_, ": ends at byte ", text_.size(), ", before its last pixel; copy it again");
    return static_cast<unsigned char>(text_[at_++]);
  }

 private:
  static bool blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

  std::string name_, text_;
  size_t at_ = 0;
};

}  // namespace

GreyImage read_netpbm(const std::filesystem::path& path) {
  Reader reader(path);
  const char kind = reader.kind();
  const bool colour = kind == '3' || kind == '6', binary = kind == '5' || kind == '6';
  GreyImage image;
  image.width = reader.number("a width", 1, kLargestSide);
  image.height = reader.number("a height", 1, kLargestSide);
  const int64_t most = reader.number("a largest value", 1, 255);
  if (binary) reader.skip_blank();
  const auto sample = [&] {
    return static_cast<double>(binary ? reader.byte() : reader.number("a value", 0, most)) / static_cast<double>(most);
  };
  for (int64_t i = 0; i < image.width * image.height; ++i) {
    double grey = sample();
    if (colour) {
      const double green = sample(), blue = sample();
      grey = 0.299 * grey + 0.587 * green + 0.114 * blue;
    }
    image.pixels.push_back(static_cast<uint8_t>(std::lround(255 * std::min(grey, 1.0))));
  }
  return image;
}

}  // namespace mara::tasks
