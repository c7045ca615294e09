#include "tasks/pixels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <set>

#include "tasks/netpbm.h"
#include "tasks/task_cases.h"
#include "temporary_folder.h"

namespace mara::tasks {
namespace {

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string error_of_image(const std::filesystem::path& path) {
  try {
    read_netpbm(path);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Pixels, Shapes) {
  const auto task = make("kind: pixels, side: 24, noise: 0", 1);
  EXPECT_EQ(task->form().length, 576);
  EXPECT_EQ(task->form().classes, 6);
  std::map<int32_t, double> ink;  // mean brightness
  std::map<int32_t, int> count;
  for (int64_t i = 0; i < 1200; ++i) {
    const Example e = example(*task, Split::train, i);
    ASSERT_EQ(e.inputs.size(), 576u);
    ASSERT_EQ(e.targets.size(), 1u);
    std::map<float, int> greys;
    for (const float grey : e.inputs) {
      EXPECT_TRUE(-1 <= grey && grey <= 1);
      ++greys[grey];
      ink[e.targets[0]] += grey;
    }
    EXPECT_EQ(greys.size(), 2u);  // ink and paper
    ++count[e.targets[0]];
  }
  ASSERT_EQ(count.size(), 6u);
  for (const auto& [shape, n] : count) {
    EXPECT_NEAR(n, 200, 5 * 13);
    ink[shape] /= n;
  }
  for (const int32_t thin : {1, 3, 4, 5}) EXPECT_LT(ink[thin], std::min(ink[0], ink[2])) << thin;
}

// Seen where neither black nor white cuts it off.
TEST(Pixels, NoiseDeviatesAsAskedFor) {
  const auto task = make("kind: pixels, side: 24, noise: 0.01", 1);
  int64_t images = 0;
  for (int64_t i = 0; i < 50; ++i) {
    const Example e = example(*task, Split::train, i);
    std::vector<double> ink;
    for (const float grey : e.inputs) {
      if (grey > 0) ink.push_back((grey + 1) / 2);
    }
    double mean = 0, squares = 0;
    for (const double x : ink) mean += x / static_cast<double>(ink.size());
    if (mean > 0.95 || ink.size() < 50) continue;
    for (const double x : ink) squares += (x - mean) * (x - mean);
    const double deviation = std::sqrt(squares / static_cast<double>(ink.size()));
    EXPECT_NEAR(deviation, 0.01, 0.003);
    ++images;
  }
  EXPECT_GT(images, 10);
}

TEST(Pixels, ShapesAreTurned) {
  const auto task = make("kind: pixels, side: 24, noise: 0", 1);
  std::set<bool> upright;
  for (int64_t i = 0; i < 200; ++i) {
    const Example e = example(*task, Split::train, i);
    if (e.targets[0] != 5) continue;  // bars
    std::set<size_t> rows, columns;
    for (size_t p = 0; p < e.inputs.size(); ++p) {
      if (e.inputs[p] > 0) rows.insert(p / 24), columns.insert(p % 24);
    }
    upright.insert(rows.size() > columns.size());
  }
  EXPECT_EQ(upright.size(), 2u);
}

TEST(Pixels, SmallImagesShowTheirShapesToo) {
  const auto task = make("kind: pixels, side: 5, noise: 0", 1);
  for (int64_t i = 0; i < 300; ++i) {
    const Example e = example(*task, Split::train, i);
    EXPECT_GT(*std::max_element(e.inputs.begin(), e.inputs.end()), 0) << "shape " << e.targets[0];
  }
}

TEST(Pixels, YourOwnImages) {
  const TemporaryFolder folder;
  for (int i = 0; i < 64; ++i) {
    const std::string number = std::to_string(i);
    write(folder / ("b/" + number + ".pgm"), "P5 2 2 255\n" + std::string{char(0), char(255), char(51), char(i)});
    write(folder / ("a/" + number + ".ppm"), "P3 2 2 255 255 255 255 0 0 0 0 255 0 " + number + " 0 0");
  }
  const std::string options = "kind: pixels, side: 2, folder: " + folder.path().string();
  const auto task = make(options, 1);
  EXPECT_EQ(task->form().classes, 2);
  std::map<int32_t, int> count;
  for (int64_t i = 0; i < 200; ++i) {
    const Example e = example(*task, Split::train, i);
    ++count[e.targets[0]];
    if (e.targets[0] == 1) {
      EXPECT_EQ(e.inputs[0], -1);
      EXPECT_EQ(e.inputs[1], 1);
      EXPECT_FLOAT_EQ(e.inputs[2], -0.6f);
    } else {
      EXPECT_EQ(e.inputs[0], 1);
      EXPECT_FLOAT_EQ(e.inputs[2], 150 / 127.5f - 1);  // 0.587 of 255
    }
  }
  EXPECT_EQ(count.size(), 2u);
  // What a resumed run must find again: the images and their classes.
  const uint64_t hash = task->data_hash();
  EXPECT_EQ(make(options, 2)->data_hash(), hash);
  EXPECT_EQ(make("kind: pixels, side: 2", 1)->data_hash(), 0u);
  write(folder / "b/7.pgm", "P5 2 2 255\n" + std::string{char(0), char(255), char(51), char(200)});
  EXPECT_NE(make(options, 1)->data_hash(), hash);
  EXPECT_EQ(error_of("kind: pixels, side: 3, folder: " + folder.path().string()),
            (folder / "a/0.ppm").string() +
                ": task.side asks for 3 x 3 pixels, this has 2 x 2; change its size, or "
                "task.side");
  write(folder / "c/readme.txt", "");
  EXPECT_EQ(error_of(options), "task.folder: " + (folder / "c").string() + ": holds no .pgm or .ppm files");
  EXPECT_EQ(error_of(options + ", noise: 0.1"),
            "task.yaml:1: noise: is of drawn images, task.folder gives others; set it to 0, or leave the folder out");
  EXPECT_NE(error_of("kind: pixels, folder: nowhere").find("a folder is required"), std::string::npos);
}

TEST(Netpbm, Forms) {
  const TemporaryFolder folder;
  write(folder / "plain.pgm", "P2 # a comment\n2 1\n15\n0 15\n");
  EXPECT_EQ(read_netpbm(folder / "plain.pgm").pixels, (std::vector<uint8_t>{0, 255}));
  write(folder / "colour.ppm", "P6\n1 1\n255\n" + std::string{char(100), char(100), char(100)});
  EXPECT_EQ(read_netpbm(folder / "colour.ppm").pixels, (std::vector<uint8_t>{100}));
  write(folder / "blank.pgm", "P5\n2 1\n255\n" + std::string{' ', '\n'});  // samples that look like blanks
  EXPECT_EQ(read_netpbm(folder / "blank.pgm").pixels, (std::vector<uint8_t>{32, 10}));
}

TEST(Netpbm, Errors) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "x.pgm";
  const auto error = [&](const std::string& bytes) {
    write(path, bytes);
    const std::string text = error_of_image(path);
    return text.substr(std::min(text.size(), path.string().size() + 2));
  };
  EXPECT_EQ(error("PNG"), "an image in PGM or PPM is required (P2, P3, P5, P6), this is none; convert it");
  EXPECT_EQ(error("P5 0 1 255\n"),
            "a width from 1 to 16384 is required at byte 3; the file is damaged, or not an 8-bit image");
  EXPECT_EQ(error("P5 1 1 65535\n00"),
            "a largest value from 1 to 255 is required at byte 7; the file is damaged, or not an 8-bit image");
  EXPECT_EQ(error("P5 2 2 255\n123"), "ends at byte 14, before its last pixel; copy it again");
  EXPECT_EQ(error("P2 2 1 15 3 16"),
            "a value from 0 to 15 is required at byte 12; the file is damaged, or not an 8-bit image");
  EXPECT_NE(error_of_image(folder / "none.pgm").find("cannot be read"), std::string::npos);
}

}  // namespace
}  // namespace mara::tasks
