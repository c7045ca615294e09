#include "report/svg.h"

#include <gmock/gmock.h>

#include <cmath>
#include <regex>

namespace mara::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(Ticks, Linear) {
  EXPECT_THAT(linear_ticks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(linear_ticks(0.3, 0.9, 3), ElementsAre(testing::DoubleEq(0.2), 0.4, testing::DoubleEq(0.6), 0.8, 1.0));
  EXPECT_THAT(linear_ticks(-1, 1, 2), ElementsAre(-1, 0, 1));
}

TEST(Ticks, Logarithmic) {
  EXPECT_THAT(logarithmic_ticks(1, 1e5), ElementsAre(1, 10, 100, 1000, 10000, 100000));
  EXPECT_THAT(logarithmic_ticks(2, 60), ElementsAre(1, 2, 5, 10, 20, 50, 100));
  EXPECT_LE(logarithmic_ticks(1e-30, 1e30).size(), 12u);
}

TEST(Ticks, Text) {
  EXPECT_EQ(tick_text(0), "0");
  EXPECT_EQ(tick_text(0.05), "0.05");
  EXPECT_EQ(tick_text(2500), "2500");
  EXPECT_EQ(tick_text(20000), "20k");
  EXPECT_EQ(tick_text(12500), "12.5k");
  EXPECT_EQ(tick_text(3e6), "3M");
  EXPECT_EQ(tick_text(-40000), "-40k");
  EXPECT_EQ(tick_text(1e-5), "1e-5");
  EXPECT_EQ(tick_text(2e-12), "2e-12");
}

Series series_of(const std::vector<double>& values) {
  Series out;
  for (const double value : values) out.add(static_cast<double>(out.size() + 1), value);
  return out;
}

std::vector<double> numbers_in(const std::string& text) {
  std::vector<double> out;
  static const std::regex kNumber("-?[0-9.]+");
  for (std::sregex_iterator i(text.begin(), text.end(), kNumber), end; i != end; ++i)
    out.push_back(std::stod(i->str()));
  return out;
}

std::string attribute(const std::string& svg, const std::string& name) {
  const size_t begin = svg.find(" " + name + "=\"") + name.size() + 3;
  return svg.substr(begin, svg.find('"', begin) - begin);
}

TEST(Svg, ScaleFollowsTheValues) {
  const Series wide = series_of({100, 1, 0.1}), narrow = series_of({3, 2, 1}), with_zero = series_of({100, 0});
  const auto logarithmic = [](const Series& series) {
    return to_svg({.title = "t", .lines = {{.name = "n", .series = &series}}, .may_be_logarithmic = true});
  };
  EXPECT_THAT(logarithmic(wide), HasSubstr("<small>logarithmic</small>"));
  EXPECT_THAT(logarithmic(narrow), Not(HasSubstr("logarithmic")));
  EXPECT_THAT(logarithmic(with_zero), Not(HasSubstr("logarithmic")));
}

TEST(Svg, EverythingIsInsideThePlot) {
  for (const std::vector<double>& values : std::vector<std::vector<double>>{
           {1}, {0, 0, 0}, {5, 5}, {-3, -3}, {1e-100, 1e100}, {1e100, -1e100}, {std::nan(""), 2}, {0.1, 1e-9}}) {
    const Series series = series_of(values);
    const std::string svg =
        to_svg({.title = "t", .lines = {{.name = "n", .series = &series, .noisy = true}}, .may_be_logarithmic = true});
    EXPECT_THAT(svg, Not(HasSubstr("nan"))) << values[0];
    EXPECT_THAT(svg, Not(HasSubstr("inf"))) << values[0];
    const size_t line = svg.find("<path class=\"raw\"");
    const std::vector<double> at = numbers_in(attribute(svg.substr(line), "d"));
    ASSERT_GE(at.size(), 2u);
    for (const double coordinate : at) {
      EXPECT_GE(coordinate, 0) << values[0];
      EXPECT_LE(coordinate, 570) << values[0];
    }
  }
}

TEST(Svg, ValuesUnderThePointer) {
  const Series series = series_of({0.5, 0.25});
  const std::string svg =
      to_svg({.title = "t", .unit = " %", .lines = {{.name = "n", .series = &series}}, .factor = 100, .high = 100});
  EXPECT_EQ(attribute(svg, "data-steps"), "1 2");
  EXPECT_EQ(attribute(svg, "data-values"), "50 25");
  EXPECT_EQ(attribute(svg, "data-unit"), " %");
}

TEST(Svg, MarksAreDrawnOncePerPixel) {
  const Series series = series_of(std::vector<double>(10000, 1.0));
  const std::string svg =
      to_svg({.title = "t", .lines = {{.name = "n", .series = &series}}, .marks = {5000, 5001, 9000}});
  const std::string marks = svg.substr(svg.find("class=\"mark\""));
  EXPECT_EQ(std::count(marks.begin(), marks.begin() + static_cast<ptrdiff_t>(marks.find("/>")), 'M'), 2);
}

}  // namespace
}  // namespace mara::report
