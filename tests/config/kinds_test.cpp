#include "config/kinds.h"

#include <gtest/gtest.h>

namespace mara::config {
namespace {

struct Shape {
  virtual ~Shape() = default;
  virtual void fields(Fields& f, int64_t most) = 0;
  virtual int64_t area() const = 0;
};
struct Square final : Shape {
  int64_t side = 2;
  void fields(Fields& f, int64_t most) override { f.field("side", side, "", between(1, static_cast<double>(most))); }
  int64_t area() const override { return side * side; }
};
struct Strip final : Shape {
  int64_t length = 5;
  void fields(Fields& f, int64_t) override { f.field("length", length, ""); }
  int64_t area() const override { return length; }
};

constexpr Kind<Shape> kShapes[] = {kind<Shape, Square>("square"), kind<Shape, Strip>("strip")};

struct ShapeConfig {
  std::string kind;
  std::shared_ptr<Shape> options;
  void fields(Fields& f) { bind_kind(f, kShapes, kind, options, "which shape", int64_t{9}); }
};

void read(ShapeConfig& config, const std::string& text) { Document::parse(text, "shape.yaml").read(config); }

TEST(Kinds, BindTheirOwnOptions) {
  ShapeConfig config;
  read(config, "{kind: square, side: 3}");
  EXPECT_EQ(config.options->area(), 9);
  EXPECT_EQ(to_yaml(config), "kind: square\nside: 3\n");
  read(config, "{kind: strip}");
  EXPECT_EQ(config.options->area(), 5);
  EXPECT_EQ(options<ShapeConfig>().size(), 3u);
}

TEST(Kinds, ReadingACopyLeavesTheOriginal) {
  ShapeConfig config;
  read(config, "{kind: square, side: 3}");
  ShapeConfig copy = config;
  read(copy, "{kind: square, side: 4}");
  EXPECT_EQ(copy.options->area(), 16);
  EXPECT_EQ(config.options->area(), 9);
  read(config, "{kind: square}");  // what is left out stays
  EXPECT_EQ(config.options->area(), 9);
}

TEST(Kinds, Errors) {
  ShapeConfig config;
  for (const char* text : {"{kind: circle}", "{kind: square, length: 3}", "{kind: square, side: 10}"}) {
    EXPECT_THROW(read(config, text), Error) << text;
  }
}

}  // namespace
}  // namespace mara::config
