#include "tasks/pixels.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numbers>

#include "tasks/netpbm.h"
#include "tasks/normal.h"

namespace mara::tasks {
namespace {

enum Shape : int32_t { kDisc, kRing, kSquare, kFrame, kCross, kBar, kShapes };

/// Whether (u, v) is ink; the shape fills about the unit square around 0, its strokes are 2 `half` wide.
bool inside(int32_t shape, double u, double v, double half) {
  const double radius = std::hypot(u, v), low = std::min(std::fabs(u), std::fabs(v)),
               high = std::max(std::fabs(u), std::fabs(v));
  switch (shape) {
    case kDisc:
      return radius < 0.9;
    case kRing:
      return std::fabs(radius - 0.8) < half;
    case kSquare:
      return high < 0.8;
    case kFrame:
      return std::fabs(high - 0.75) < half;
    case kCross:
      return low < half && high < 1;
    default:
      return std::fabs(v) < half && std::fabs(u) < 1;
  }
}

/// What a folder holds, by name.
std::vector<std::filesystem::path> sorted(const std::filesystem::path& folder, bool folders) {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string extension = entry.path().extension().string();
    if (folders ? entry.is_directory() : extension == ".pgm" || extension == ".ppm") out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

void PixelsConfig::fields(config::Fields& f) {
  f.field("side", side, "pixels of an edge; L is its square", config::between(2, 1024));
  f.field("folder", folder, "your own images instead of drawn ones: a folder of each class, with PGM or PPM files");
  if (!folder.empty()) noise = 0;
  f.field("noise", noise, "standard deviation of the noise of drawn images, black to white being 1",
          config::between(0, 10));
  f.require(folder.empty() || noise == 0, "noise",
            "is of drawn images, task.folder gives others; set it to 0, or leave the folder out");
}

Pixels::Pixels(const Config& config, uint64_t seed) : Task(seed), config_(config), classes_(kShapes) {
  if (!config.folder.empty()) read_folder();
}

void Pixels::read_folder() {
  MARA_CHECK(std::filesystem::is_directory(config_.folder), "task.folder: ", config_.folder,
             ": a folder is required, there is none");
  const std::vector<std::filesystem::path> classes = sorted(config_.folder, true);
  MARA_CHECK(classes.size() >= 2, "task.folder: ", config_.folder, ": a folder for each of two classes or more is ",
             "required, it holds ", classes.size(), " folders");
  classes_ = static_cast<int64_t>(classes.size());
  for (size_t label = 0; label < classes.size(); ++label) {
    const std::vector<std::filesystem::path> files = sorted(classes[label], false);
    MARA_CHECK(!files.empty(), "task.folder: ", classes[label].string(), ": holds no .pgm or .ppm files");
    for (const std::filesystem::path& file : files) {
      GreyImage image = read_netpbm(file);
      MARA_CHECK(image.width == config_.side && image.height == config_.side, file.string(), ": task.side asks for ",
                 config_.side, " x ", config_.side, " pixels, this has ", image.width, " x ", image.height,
                 "; change its size, or task.side");
      hash_ = XXH3_64bits_withSeed(image.pixels.data(), image.pixels.size(), hash_ + label);
      images_.push_back({static_cast<int32_t>(label), std::move(image.pixels)});
    }
  }
}

void Pixels::draw(PhiloxSequence& random, Split, const Row& row) const {
  if (images_.empty()) return draw_shape(random, row);
  const Image& image = images_[random.below(static_cast<uint32_t>(images_.size()))];
  for (size_t i = 0; i < row.inputs.size(); ++i) row.inputs[i] = static_cast<float>(image.pixels[i]) / 127.5f - 1;
  row.targets[0] = image.label;
}

void Pixels::draw_shape(PhiloxSequence& random, const Row& row) const {
  const auto between = [&](double low, double high) { return low + (high - low) * random.uniform_f64(); };
  const int32_t shape = static_cast<int32_t>(random.below(kShapes));
  const double size = between(0.5, 0.8), x0 = between(-0.2, 0.2), y0 = between(-0.2, 0.2);
  const double angle = between(0, 2 * std::numbers::pi), paper = between(0, 0.3), ink = between(0.7, 1);
  const double pixel = 2.0 / static_cast<double>(config_.side);
  const double half = std::max(0.16, pixel / size);  // a stroke has at least two pixels
  for (size_t i = 0; i < row.inputs.size(); ++i) {
    const size_t side = static_cast<size_t>(config_.side);
    const double x = (static_cast<double>(i % side) + 0.5) * pixel - 1 - x0;
    const double y = (static_cast<double>(i / side) + 0.5) * pixel - 1 - y0;
    const double u = (std::cos(angle) * x + std::sin(angle) * y) / size;
    const double v = (std::cos(angle) * y - std::sin(angle) * x) / size;
    const double grey = (inside(shape, u, v, half) ? ink : paper) + config_.noise * normal(random);
    row.inputs[i] = static_cast<float>(2 * std::clamp(grey, 0.0, 1.0) - 1);
  }
  row.targets[0] = shape;
}

}  // namespace mara::tasks
