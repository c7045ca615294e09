#pragma once
// A grid of runs from recipes and lists of values.

#include <filesystem>
#include <string>
#include <vector>

#include "train/recipe.h"

namespace mara::train {

/// One run of a grid, with a folder of its own.
struct SweepPoint {
  std::string name;  // of the folder: "width=64,seed=1"; of several recipes "mqar_hyena,width=64,seed=1"
  Recipe recipe;
};

/// Every recipe, with the overrides that all runs share, at every combination of the axes' values; the last axis
/// changes fastest, the recipe slowest. An axis is "key=value,value,..."; values are YAML, and commas in [ ], { } and
/// quotes belong to a value. Keys that move together stand on one axis: "key=1,2; other=3,4" are two values, not four.
/// In names a key is as short as can be, and what a folder's name should not hold becomes "-". Throws Error for a wrong
/// axis, for a recipe that is not valid at some point, naming the point, and for points that cannot be told apart.
std::vector<SweepPoint> sweep_points(const std::vector<std::string>& recipes, const std::vector<std::string>& overrides,
                                     const std::vector<std::string>& axes);

/// Throws Error if the folder of a point holds the run of another recipe, naming what differs.
void check_same_recipe(const SweepPoint& point, const std::filesystem::path& folder);

}  // namespace mara::train
