#pragma once

#include <string>
#include <vector>

#include "tasks/task.h"

namespace mara::tasks {

struct PixelsConfig {
  int64_t side = 16;
  double noise = 0.1;
  std::string folder;
  void fields(config::Fields& f);
};

/// Say what an image shows, from its pixels one by one (Long Range Arena, 2011.04006): L = side^2 positions row by row,
/// each with one number, the grey value from -1 black to 1 white.
///
/// Without a folder images are drawn: one of six shapes (disc, ring, square, frame, cross, bar), bright on dark, of any
/// size, place and, but for the round ones, angle, under normal noise. Chance level: 1 / 6.
///
/// With a folder they are the user's own: it holds a folder for each class with files in PGM or PPM, all of side x side
/// pixels; classes are numbered by the order of their names. An example is one of them, drawn with replacement; which
/// split an image belongs to follows from its pixels, so that copies of it are in the same.
class Pixels final : public Task {
 public:
  using Config = PixelsConfig;
  /// Throws Error for a folder without such images.
  Pixels(const Config& config, uint64_t seed);

  ExampleForm form() const override {
    return {.length = config_.side * config_.side, .targets = 1, .classes = classes_, .features = 1};
  }
  uint64_t data_hash() const override { return hash_; }

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  struct Image {
    int32_t label;
    std::vector<uint8_t> pixels;
  };
  void read_folder();
  void draw_shape(PhiloxSequence& random, const Row& row) const;

  Config config_;
  int64_t classes_;
  std::vector<Image> images_;  // of the folder
  uint64_t hash_ = 0;          // of images and labels
};

}  // namespace mara::tasks
