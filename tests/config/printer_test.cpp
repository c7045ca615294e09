#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "config/sample.h"

namespace mara::config {
namespace {

TEST(Printer, LooksWrittenByHand) {
  Recipe recipe = read(kSample);
  EXPECT_EQ(to_yaml(recipe),
            "name: \"first run\"\n"
            "quiet: false\n"
            "model:\n"
            "  width: 32\n"
            "  mixer: {kind: hyena, order: 3, taps: 3}\n"
            "lr: 6.0e-4\n"
            "betas: [0.9, 0.98]\n"
            "sizes: [1, 2]\n"
            "schedule: cosine\n");
  recipe.clip = Clip{2};
  EXPECT_TRUE(to_yaml(recipe).ends_with("schedule: cosine\nclip: {norm: 2.0}\n"));
}

struct Long {
  std::string first = std::string(60, 'a'), second = std::string(60, 'b');
  void fields(Fields& f) {
    f.field("first", first, "");
    f.field("second", second, "");
  }
};
struct Outer {
  Long inner;
  void fields(Fields& f) { f.group("inner", inner, ""); }
};

TEST(Printer, LongMappingsTakeALinePerKey) {
  EXPECT_EQ(to_yaml(Outer{}),
            "inner:\n  first: " + std::string(60, 'a') + "\n  second: " + std::string(60, 'b') + "\n");
}

TEST(Printer, TextReadsBack) {
  for (const std::string text : {"",
                                 " ",
                                 "a",
                                 "12",
                                 "1e3",
                                 "-",
                                 "- a",
                                 "true",
                                 "Null",
                                 "~",
                                 "a: b",
                                 "a #b",
                                 "*.h5",
                                 "shards/train-*.h5",
                                 "x,y",
                                 "{a}",
                                 "[",
                                 "it's",
                                 "\"quoted\"",
                                 "back\\slash",
                                 "line\nbreak\ttab",
                                 "\xC3\xBC \xE2\x82\xAC",
                                 "trailing ",
                                 "\x01\x7f",
                                 "'",
                                 "|",
                                 "!t",
                                 "&a",
                                 "%x",
                                 "@y",
                                 "`",
                                 "?",
                                 "a?b",
                                 "<<",
                                 "=",
                                 ".5",
                                 "0x1F",
                                 "yes"}) {
    Recipe recipe = read(kSample);
    recipe.name = text;
    EXPECT_EQ(read(to_yaml(recipe)).name, text) << to_yaml(recipe);
  }
}

TEST(Printer, NumbersReadBackExactly) {
  Recipe recipe = read(kSample);
  recipe.betas = {0, -0.0, 1, 0.1, 1e-5, 1.0 / 3, 5e-324, std::nextafter(1.0, 0.0), 0.000999, 0.001};
  recipe.sizes = {1, std::numeric_limits<int64_t>::max()};
  const Recipe back = read(to_yaml(recipe));
  ASSERT_EQ(back.betas.size(), recipe.betas.size());
  for (size_t i = 0; i < recipe.betas.size(); ++i) {
    EXPECT_EQ(back.betas[i], recipe.betas[i]);
    EXPECT_EQ(std::signbit(back.betas[i]), std::signbit(recipe.betas[i]));
  }
  EXPECT_EQ(back.sizes, recipe.sizes);
  EXPECT_NE(to_yaml(recipe).find("[0.0, -0.0, 1.0, 0.1, 1.0e-5, 0.3333333333333333, 5.0e-324, "), std::string::npos);
}

TEST(Printer, PrintingTwiceIsTheSame) {
  const std::string text = to_yaml(read(kSample, {"clip.norm=1.0e+7", "model.mixer={kind: s4d}"}));
  EXPECT_EQ(to_yaml(read(text)), text);
}

}  // namespace
}  // namespace mara::config
