#include "eval/tables.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace mara::eval {
namespace {

TEST(Tables, PutManyGroupsTogether) {
  Breakdown few, many;
  for (const int64_t key : {2, 5})
    few.by_position[key] = few.by_distance[key] = {.scored = 4, .right = 3, .loss_sum = 1};
  EXPECT_EQ(position_table(few),
            "position          scored    accuracy      loss\n"
            "2                      4     75.00 %    0.2500\n"
            "5                      4     75.00 %    0.2500\n");
  for (int64_t key = 100; key < 1700; ++key) {
    many.by_position[key] = many.by_distance[key] = {.scored = 2, .right = key < 300 ? 2 : 0, .loss_sum = 1};
  }
  const std::string positions = position_table(many), distances = distance_table(many);
  EXPECT_EQ(std::count(positions.begin(), positions.end(), '\n'), 1 + 8);
  EXPECT_NE(positions.find("\n100-299              400    100.00 %    0.5000\n300-499              400      0.00 %"),
            std::string::npos)
      << positions;
  EXPECT_NE(positions.find("\n1,500-1,699          400 "), std::string::npos) << positions;
  EXPECT_EQ(std::count(distances.begin(), distances.end(), '\n'), 1 + 5);
  EXPECT_NE(distances.find("\n64-127                56    100.00 %"), std::string::npos) << distances;
  EXPECT_NE(distances.find("\n256-511              512     17.19 %"), std::string::npos) << distances;
  EXPECT_EQ(position_table({}), "");
  EXPECT_EQ(distance_table({.by_position = {}, .by_distance = {{3, {.scored = 1}}}}), "");  // one group says nothing
}

}  // namespace
}  // namespace mara::eval
