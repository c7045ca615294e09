#include <gtest/gtest.h>

#include "config/sample.h"

namespace mara::config {
namespace {

TEST(Values, AreEveryFieldByItsFullKey) {
  Recipe recipe = read(kSample);
  const auto lines = [&] {
    std::string out;
    for (const KeyValue& field : values(recipe)) out += field.key + "=" + field.value + "\n";
    return out;
  };
  const std::string expected =
      "name=\"first run\"\nquiet=false\nmodel.width=32\nmodel.mixer.kind=hyena\nmodel.mixer.order=3\n"
      "model.mixer.taps=3\nlr=6.0e-4\nbetas=[0.9, 0.98]\nsizes=[1, 2]\nschedule=cosine\n";
  EXPECT_EQ(lines(), expected);
  recipe.clip = Clip{2};
  EXPECT_EQ(lines(), expected + "clip.norm=2.0\n");
}

}  // namespace
}  // namespace mara::config
