#include <gtest/gtest.h>

#include "config/sample.h"

namespace mara::config {
namespace {

TEST(Reference, ListsEveryOption) {
  std::string table;
  for (const Option& o : options<Recipe>()) {
    table += o.key + " | " + o.type + " | " + (o.required ? "required" : o.value) + " | " + o.requirement + " | " +
             o.help + "\n";
  }
  EXPECT_EQ(table,
            "name | text | run |  | of the run\n"
            "quiet | boolean | false |  | no progress lines\n"
            "model | mapping |  |  | what is trained\n"
            "model.width | integer | required | at least 1 | D\n"
            "model.mixer | mapping |  |  | mixes along the sequence\n"
            "model.mixer.kind | text | required | one of hyena, s4d | which mixer\n"
            "model.mixer(hyena).order | integer | 2 | at least 2 | number of gated products\n"
            "model.mixer(hyena).taps | integer | 3 | odd and at least 1 | of the short filter\n"
            "model.mixer(s4d).state | integer | 64 | at least 1 | size of the state\n"
            "lr | number | 0.001 | from 0 to 10 | learning rate\n"
            "betas | list of numbers | [0.9, 0.999] | from 0 to 1 | of AdamW\n"
            "sizes | list of integers | [1, 2] | at least 1 | anything\n"
            "schedule | text | cosine | one of cosine, linear, constant | of the learning rate\n"
            "clip | mapping | left out |  | of gradients\n"
            "clip.norm | number | 1.0 | above 0 | largest gradient norm\n");
}

}  // namespace
}  // namespace mara::config
