#include "report/sweep.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "report/runs.h"

namespace mara::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

/// A run of a test accuracy, with the recipe's settings as they stand in the file.
report::Run run_of(double accuracy, std::vector<std::pair<std::string, std::string>> settings) {
  report::Run run{.name = "run", .settings = std::move(settings)};
  run.evaluations["test"]["accuracy"].add(10, accuracy);
  run.evaluations["test"]["loss"].add(10, 1 - accuracy);
  return run;
}

/// Two mixers, each with its own learning rate and an option that the other does not have, at two widths with two
/// seeds.
std::vector<report::Run> grid() {
  std::vector<report::Run> runs;
  for (const std::string mixer : {"hyena", "attention"}) {
    for (const std::string width : {"128", "64"}) {
      for (const std::string seed : {"1", "2"}) {
        const double accuracy = (mixer == "hyena" ? 0.2 : 0.6) + (width == "64" ? 0 : 0.2) + (seed == "1" ? 0 : 0.1);
        runs.push_back(run_of(accuracy, {{"run.name", mixer},
                                         {"run.seed", seed},
                                         {"model.width", width},
                                         {"model.mixer.kind", mixer},
                                         {mixer == "hyena" ? "model.mixer.order" : "model.mixer.heads", "2"},
                                         {"optim.lr", mixer == "hyena" ? "0.002" : "0.001"},
                                         {"eval.every", seed}}));
      }
    }
  }
  return runs;
}

std::string error_of(const Axes& axes) {
  try {
    sweep(grid(), axes);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Sweep, ALinePerMixerOverTheSeeds) {
  const std::optional<Sweep> found = sweep(grid());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->x, "model.width");
  EXPECT_THAT(found->places, ElementsAre(64, 128));
  EXPECT_THAT(found->names, ElementsAre("hyena", "attention"));
  ASSERT_EQ(found->metrics.size(), 2u);  // accuracy and loss; there is no text
  const SweepMetric& accuracy = found->metrics[0];
  EXPECT_EQ(accuracy.title, "Test accuracy");
  EXPECT_THAT(accuracy.lines[0].mean.steps, ElementsAre(64, 128));
  EXPECT_THAT(accuracy.lines[0].mean.values,
              ElementsAre(testing::DoubleNear(0.25, 1e-12), testing::DoubleNear(0.45, 1e-12)));
  EXPECT_THAT(accuracy.lines[1].mean.values,
              ElementsAre(testing::DoubleNear(0.65, 1e-12), testing::DoubleNear(0.85, 1e-12)));
  EXPECT_THAT(accuracy.lines[1].low.values, ElementsAre(0.6, 0.8));
  EXPECT_THAT(accuracy.lines[1].counts, ElementsAre(2, 2));
  EXPECT_THAT(sweep_table(*found, accuracy).rows[0],
              ElementsAre("hyena", "25.00 % (20.00 to 30.00)", "45.00 % (40.00 to 50.00)"));
}

TEST(Sweep, WhatElseDiffersAtOnePlaceIsAnotherLine) {
  std::vector<report::Run> runs = grid();
  for (report::Run& run : grid()) {
    run.settings.insert(run.settings.end(), {{"task.length", "128"}, {"task.num_pairs", "8"}});
    runs.push_back(run);
  }
  for (size_t i = 0; i < runs.size() / 2; ++i) {
    runs[i].settings.insert(runs[i].settings.end(), {{"task.length", "64"}, {"task.num_pairs", "4"}});
  }
  EXPECT_THAT(sweep(runs)->names,
              ElementsAre("hyena, length 64", "attention, length 64", "hyena, length 128", "attention, length 128"));
}

TEST(Sweep, WhatMovesWithThePlaceIsNoOtherLine) {
  std::vector<report::Run> runs = grid();
  for (report::Run& run : runs) {
    const bool narrow = run.settings[2].second == "64";
    run.settings.insert(run.settings.end(), {"model.init_std", narrow ? "0.05" : "0.035"});
  }
  EXPECT_THAT(sweep(runs)->names, ElementsAre("hyena", "attention"));
}

TEST(Sweep, TheWidthComesFirst) {
  std::vector<report::Run> runs;
  for (const std::string width : {"64", "128"}) {
    for (const std::string rate : {"0.1", "0.2", "0.3"}) {
      runs.push_back(run_of(0.5, {{"model.width", width}, {"optim.lr", rate}}));
    }
  }
  EXPECT_EQ(sweep(runs)->x, "model.width");
  EXPECT_THAT(sweep_table(*sweep(runs), sweep(runs)->metrics[0]).rows[0],
              ElementsAre("lr 0.1", "50.00 %", "50.00 %"));  // of one run each there is no spread
}

TEST(Sweep, WhatTheReaderAsksFor) {
  const std::optional<Sweep> by_rate = sweep(grid(), {.x = "optim.lr", .lines = {"model.width"}});
  EXPECT_THAT(by_rate->places, ElementsAre(0.001, 0.002));
  EXPECT_THAT(by_rate->names, ElementsAre("width 128", "width 64"));
  EXPECT_THAT(by_rate->metrics[0].lines[1].counts, ElementsAre(2, 2));
  EXPECT_THAT(sweep(grid(), {.x = "run.seed"})->names,
              ElementsAre("hyena, width 128", "hyena, width 64", "attention, width 128", "attention, width 64"));
  EXPECT_THAT(error_of({.x = "model.widht"}), HasSubstr("did you mean 'model.width'?"));
  EXPECT_THAT(error_of({.x = "model.mixer.kind"}), HasSubstr("--x model.mixer.kind: a number that"));
  EXPECT_THAT(error_of({.x = "model.mixer.order"}), HasSubstr("every run's recipe"));  // attention has none
  EXPECT_THAT(error_of({.lines = {"model.mixer.kin"}}), HasSubstr("did you mean 'model.mixer.kind'?"));
}

TEST(Sweep, WithoutAWidthTheNumberOfMostValues) {
  std::vector<report::Run> runs;
  for (const auto& [length, rate] : std::vector<std::pair<std::string, std::string>>{
           {"32", "0.1"}, {"64", "0.1"}, {"32", "0.2"}, {"64", "0.2"}, {"32", "0.3"}}) {
    runs.push_back(run_of(0.5, {{"task.length", length}, {"optim.lr", rate}}));
  }
  EXPECT_EQ(sweep(runs)->x, "optim.lr");
  EXPECT_THAT(sweep(runs)->names, ElementsAre("length 32", "length 64"));
}

TEST(Sweep, RunsThatMakeNone) {
  EXPECT_FALSE(sweep({}));
  EXPECT_FALSE(sweep({run_of(0.5, {{"run.seed", "1"}}), run_of(0.6, {{"run.seed", "2"}})}));
  // Two points, but no line joins them.
  EXPECT_FALSE(sweep({run_of(0.5, {{"model.mixer.kind", "a"}, {"model.width", "1"}}),
                      run_of(0.5, {{"model.mixer.kind", "b"}, {"model.width", "2"}})}));
}

TEST(Sweep, UnfinishedRunsShowTheirBestValidation) {
  std::vector<report::Run> runs = grid();
  runs[0].evaluations.clear();
  for (const auto& [step, accuracy] : {std::pair{1, 0.1}, {2, 0.7}, {3, 0.5}}) {
    runs[0].evaluations["valid"]["accuracy"].add(step, accuracy);
  }
  runs[1].evaluations.clear();
  const SweepMetric accuracy = sweep(runs)->metrics[0];
  EXPECT_EQ(accuracy.title, "Test or best validation accuracy");
  EXPECT_EQ(accuracy.lines[0].mean.values[1], 0.7);
  EXPECT_THAT(accuracy.lines[0].counts, ElementsAre(2, 1));
  EXPECT_EQ(sweep_table(*sweep(runs), accuracy).rows[0][2], "70.00 % (70.00 to 70.00; 1)");
}

TEST(SweepCharts, PlacesAndWhiskers) {
  const std::optional<Sweep> found = sweep(grid());
  const std::vector<Chart> charts = sweep_charts(*found);
  ASSERT_EQ(charts.size(), 2u);
  EXPECT_EQ(charts[0].high, 100);  // %
  const std::string svg = to_svg(charts[0]);
  for (const char* part : {"Test accuracy against model.width", "data-of=\"model.width\"", "data-steps=\"64 128\"",
                           "data-values=\"25 45\" data-lows=\"20 40\" data-highs=\"30 50\"", "class=\"whisker\"",
                           ">128</text>", "data-range=\"runs\""}) {
    EXPECT_THAT(svg, HasSubstr(part));
  }
  EXPECT_THAT(svg, Not(HasSubstr("data-line=")));  // the names of the runs switch other lines
}

TEST(SweepCharts, SpreadByLogarithm) {
  EXPECT_TRUE(spread_by_logarithm({64, 128, 256}));
  EXPECT_TRUE(spread_by_logarithm({1e-4, 1e-3, 1e-2}));
  EXPECT_FALSE(spread_by_logarithm({1, 2, 3, 4}));
  EXPECT_FALSE(spread_by_logarithm({0, 1, 10}));
  EXPECT_FALSE(spread_by_logarithm({5}));
}

TEST(SweepText, OnThePageAndOnTheTerminal) {
  const std::string html = to_html(grid()), text = to_text(grid());
  for (const std::string& shown : {html, text}) EXPECT_THAT(shown, HasSubstr("25.00 % (20.00 to 30.00)"));
  EXPECT_THAT(text, HasSubstr("Test accuracy, mean (lowest to highest) of 2 runs\nmodel.width"));
  EXPECT_THAT(html, HasSubstr("<h2>Test accuracy, mean"));
  EXPECT_THAT(to_html({grid()[0], grid()[1]}), Not(HasSubstr("<h2>Test accuracy, mean")));
}

TEST(RunFolders, OfASweepInTheOrderOfTheirNumbers) {
  const TemporaryFolder folder;
  for (const std::string name : {"width=128,seed=1", "width=64,seed=10", "width=64,seed=9"}) {
    make_run(folder / ("sweep/" + name), step_line(1, 1));
  }
  write_file(folder / "sweep/width=256/recipe.yaml", "run: {name: x}\n");  // has not begun
  write_file(folder / "sweep/results.tsv", "");
  const std::filesystem::path sweep = folder / "sweep";
  EXPECT_THAT(run_folders(sweep),
              ElementsAre(sweep / "width=64,seed=9", sweep / "width=64,seed=10", sweep / "width=128,seed=1"));
  EXPECT_THAT(run_folders(sweep / "width=128,seed=1"), ElementsAre(sweep / "width=128,seed=1"));
  EXPECT_THAT(run_folders(folder / "absent"), ElementsAre(folder / "absent"));
}

}  // namespace
}  // namespace mara::report
