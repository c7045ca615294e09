#include "report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "report/html.h"

namespace mara::report {
namespace {

constexpr double kLogarithmicFrom = 30;  // ratio of largest to smallest value
constexpr double kDotDistance = 8;       // points that are nearer to each other get no dots
constexpr double kTickDistance = 40;     // between labels of places
constexpr double kLeft = 52, kRight = 14, kTop = 10, kBottom = 28;

struct Axis {
  std::vector<double> ticks;
  double low = 0, high = 1;  // values at the ends
  double from = 0, to = 1;   // their coordinates
  bool logarithmic = false;

  double scale(double value) const { return logarithmic ? std::log10(value) : value; }
  double at(double value) const {
    return from + (scale(value) - scale(low)) / (scale(high) - scale(low)) * (to - from);
  }
};

// With some room before the first and after the last place.
Axis place_axis(const std::vector<double>& places, double width) {
  constexpr double kRoom = 0.05;
  Axis axis{.ticks = places, .from = kLeft, .to = width - kRight, .logarithmic = spread_by_logarithm(places)};
  const double first = places.front(), last = places.back();
  if (axis.logarithmic) {
    axis.low = first * std::pow(first / last, kRoom);
    axis.high = last * std::pow(last / first, kRoom);
  } else {
    const double room = last > first ? kRoom * (last - first) : 1;
    axis.low = first - room;
    axis.high = last + room;
  }
  double before = -kTickDistance;
  std::erase_if(axis.ticks, [&](double tick) {
    const bool near = axis.at(tick) - before < kTickDistance;
    if (!near) before = axis.at(tick);
    return near;
  });
  return axis;
}

Axis step_axis(const Chart& chart, double width) {
  double last = 1;
  for (const Line& line : chart.lines) {
    if (!line.series->empty()) last = std::max(last, line.series->steps.back());
  }
  Axis axis{.low = 0, .high = last, .from = kLeft, .to = width - kRight};
  axis.ticks = linear_ticks(0, last, chart.wide ? 10 : 5);
  std::erase_if(axis.ticks, [&](double tick) { return tick > last; });
  return axis;
}

Axis value_axis(const Chart& chart, double height) {
  std::vector<double> ends;
  for (const Line& line : chart.lines) {
    for (const Series* series : {line.series, line.low, line.high}) {
      if (series == nullptr) continue;
      const auto [low, high] = extremes(series->values);
      if (low <= high) ends.insert(ends.end(), {low * chart.factor, high * chart.factor});
    }
  }
  auto [low, high] = extremes(ends);
  Axis axis{.from = height - kBottom, .to = kTop};
  axis.logarithmic = chart.may_be_logarithmic && low > 0 && high / low >= kLogarithmicFrom;
  if (!axis.logarithmic) {
    if (chart.low) low = *chart.low;
    if (high <= low) {  // a constant
      const double around = low == 0 ? 1 : std::abs(low) / 10;
      low -= around;
      high += around;
    }
  }
  axis.ticks = axis.logarithmic ? logarithmic_ticks(low, high) : linear_ticks(low, high, 5);
  if (chart.high) std::erase_if(axis.ticks, [&](double tick) { return tick > *chart.high * (1 + 1e-9); });
  axis.low = axis.ticks.front();
  axis.high = axis.ticks.back();
  if (axis.logarithmic) {  // ends where the values do, not at the next tick
    axis.low = low / 1.1;
    axis.high = high * 1.1;
    std::erase_if(axis.ticks, [&](double tick) { return tick < axis.low || tick > axis.high; });
  }
  return axis;
}

std::string grid(const Axis& x, const Axis& y, const std::string& unit) {
  std::string out = "<g class=\"grid\">";
  for (const double tick : y.ticks) {
    out += fmt::format("<path d=\"M{:.1f} {:.1f}H{:.1f}\"/>", x.from, y.at(tick), x.to);
  }
  out += fmt::format("</g><g class=\"axis\"><path d=\"M{:.1f} {:.1f}H{:.1f}\"/>", x.from, y.from, x.to);
  for (const double tick : x.ticks) {
    out += fmt::format("<path d=\"M{:.1f} {:.1f}v4\"/><text x=\"{:.1f}\" y=\"{:.1f}\" class=\"x\">{}</text>",
                       x.at(tick), y.from, x.at(tick), y.from + 18, tick_text(tick));
  }
  for (const double tick : y.ticks) {
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"y\">{}</text>", x.from - 8, y.at(tick) + 4,
                       tick_text(tick) + escape(unit));
  }
  return out + "</g>";
}

// Points joined by straight lines, but for gaps. A point alone is a dot (a line of no length with round ends).
class Path {
 public:
  void to(double x, double y, bool after_gap) {
    const bool move = text_.empty() || after_gap;
    fmt::format_to(std::back_inserter(text_), "{}{:.1f} {:.1f}{}", move ? "M" : "L", x, y, move ? "h0" : "");
  }
  std::string drawn(const char* style) const { return fmt::format("<path class=\"{}\" d=\"{}\"/>", style, text_); }

 private:
  std::string text_;
};

// What the script shows under the pointer, one number after the other.
struct Shown {
  std::string steps, values, lows, highs;

  void add(const Chart& chart, double step, double value, double low, double high) {
    const char* space = steps.empty() ? "" : " ";
    steps += fmt::format("{}{:.12g}", space, step);
    values += fmt::format("{}{:.4g}", space, value * chart.factor);
    lows += fmt::format("{}{:.4g}", space, low * chart.factor);
    highs += fmt::format("{}{:.4g}", space, high * chart.factor);
  }
};

std::string group(const Line& line, const Shown& shown, bool has_range, bool has_switch, const std::string& body) {
  std::string out = fmt::format("<g class=\"line {}\"", line_style(line.style));
  if (has_switch) out += fmt::format(" data-line=\"{}\"", line.style);
  out += fmt::format(" data-name=\"{}\" data-steps=\"{}\" data-values=\"{}\"", escape(line.name), shown.steps,
                     shown.values);
  if (has_range) out += fmt::format(" data-lows=\"{}\" data-highs=\"{}\"", shown.lows, shown.highs);
  return out + ">" + body + "</g>\n";
}

// Means with whiskers.
std::string draw_means(const Line& line, const Chart& chart, const Axis& x, const Axis& y) {
  Path course;
  Shown shown;
  std::string dots, whiskers;
  for (size_t i = 0; i < line.series->size(); ++i) {
    const double place = line.series->steps[i], value = line.series->values[i];
    const double low = line.low->values[i], high = line.high->values[i];
    const double at = x.at(place), height = y.at(value * chart.factor);
    course.to(at, height, false);
    dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>", at, height);
    const double bottom = y.at(low * chart.factor), top = y.at(high * chart.factor);
    if (high > low)
      whiskers += fmt::format("M{0:.1f} {1:.1f}h8M{2:.1f} {1:.1f}V{3:.1f}M{0:.1f} {3:.1f}h8", at - 4, bottom, at, top);
    shown.add(chart, place, value, low, high);
  }
  if (!whiskers.empty()) whiskers = "<path class=\"whisker\" d=\"" + whiskers + "\"/>";
  return group(line, shown, true, false, whiskers + course.drawn("course") + dots);
}

std::string draw(const Line& line, const Chart& chart, const Axis& x, const Axis& y) {
  if (line.low != nullptr) return draw_means(line, chart, x, y);
  const Series& series = *line.series;
  const std::vector<double> smooth = line.noisy ? smoothed(series.values, smoothing_reach(series)) : series.values;
  const std::vector<Column> shown = columns(series, smooth, static_cast<int>(x.to - x.from));
  const auto height = [&](double value) { return y.at(value * chart.factor); };

  Path raw, course;
  const bool dotted = shown.size() < 2 || x.at(shown.back().last) - x.at(shown.front().last) >=
                                              kDotDistance * static_cast<double>(shown.size() - 1);
  Shown under_pointer;
  std::string dots;
  for (const Column& c : shown) {
    raw.to(x.at(c.first), height(c.low_first ? c.low : c.high), c.after_gap);
    if (c.last > c.first) raw.to(x.at(c.last), height(c.low_first ? c.high : c.low), false);
    course.to(x.at(c.last), height(c.smooth), c.after_gap);
    if (dotted) {
      dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.6\"/>", x.at(c.last), height(c.smooth));
    }
    under_pointer.add(chart, c.last, c.smooth, c.low, c.high);
  }
  return group(line, under_pointer, line.noisy, true,
               line.noisy ? raw.drawn("raw") + course.drawn("course") : raw.drawn("course") + dots);
}

std::string draw_marks(const Chart& chart, const Axis& x, const Axis& y) {
  std::string path;
  double before = -1;
  for (const double step : chart.marks) {
    const double at = std::round(x.at(step));
    if (at != before) path += fmt::format("M{:.0f} {:.1f}v-7", at, y.from);
    before = at;
  }
  return path.empty() ? "" : "<path class=\"mark\" d=\"" + path + "\"/>";
}

std::string legend(const Chart& chart) {
  std::string out;
  for (const Line& line : chart.lines) {
    if (chart.legend) out += key(line.style, line.name);
  }
  if (!chart.marks.empty()) out += "<span class=\"key marks\">skipped steps</span>";
  return out.empty() ? out : "<div class=\"legend\">" + out + "</div>";
}

// How the picture was made, where that is not plain.
std::string remarks(const Chart& chart, const Axis& y) {
  std::string out;
  if (y.logarithmic) out += "logarithmic";
  const auto add = [&](const char* remark) { out += (out.empty() ? "" : "; ") + std::string(remark); };
  if (chart.lines[0].noisy) add("line: mean over 2 % of the steps, faint: every step");
  if (chart.lines[0].low != nullptr) add("line: mean of the runs, whiskers: lowest and highest");
  return out.empty() ? out : "<small>" + out + "</small>";
}

}  // namespace

std::string line_style(size_t index) {
  constexpr size_t kColours = 8;
  return fmt::format("c{}{}", index % kColours, index < kColours ? "" : " dashed");
}

std::string key(size_t index, const std::string& name) {
  return fmt::format("<span class=\"key {}\">{}</span>", line_style(index), escape(name));
}

std::vector<double> linear_ticks(double low, double high, int count) {
  const double rough = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double lead = rough / power * (1 - 1e-9);  // 2.0000000001 is a 2
  const double step = power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
  std::vector<double> out;
  const double end = std::ceil(high / step - 1e-9);
  for (double i = std::floor(low / step + 1e-9); i <= end; ++i) out.push_back(i * step);
  return out;
}

std::vector<double> logarithmic_ticks(double low, double high) {
  const int first = static_cast<int>(std::floor(std::log10(low))), last = static_cast<int>(std::ceil(std::log10(high)));
  const int decades = last - first, stride = 1 + decades / 8;
  std::vector<double> out;
  for (int power = first; power <= last; power += stride) {
    const double ten = std::pow(10, power);
    out.push_back(ten);
    if (decades <= 3 && power < last) out.insert(out.end(), {2 * ten, 5 * ten});
  }
  return out;
}

bool spread_by_logarithm(const std::vector<double>& places) {
  if (places.size() < 2 || places.front() <= 0) return false;
  const auto smallest_gap = [&](const auto& scale) {
    double gap = 1;
    for (size_t i = 1; i < places.size(); ++i) {
      gap = std::min(gap, (scale(places[i]) - scale(places[i - 1])) / (scale(places.back()) - scale(places.front())));
    }
    return gap;
  };
  return smallest_gap([](double place) { return std::log(place); }) > smallest_gap([](double place) { return place; });
}

std::string tick_text(double value) {
  const double size = std::abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-4)) {
    std::string text = fmt::format("{:.3g}", value);  // 1e-05
    const size_t zero = text.find("e-0");
    if (zero != std::string::npos) text.erase(zero + 2, 1);
    return text;
  }
  const char* suffixes[] = {"", "k", "M", "G", "T"};
  int thousands = 0;
  for (double rest = size; rest >= 1000 && (size >= 10000 || thousands > 0); rest /= 1000) ++thousands;
  return fmt::format("{:.6g}{}", value / std::pow(1000, thousands), suffixes[thousands]);
}

bool has_values(const Series& series) {
  return std::any_of(series.values.begin(), series.values.end(), [](double value) { return std::isfinite(value); });
}

std::string to_svg(const Chart& chart) {
  const double width = chart.wide ? 1160 : 570, height = chart.height;
  const Axis x = chart.places.empty() ? step_axis(chart, width) : place_axis(chart.places, width);
  const Axis y = value_axis(chart, height);
  std::string out =
      fmt::format("<figure{}><figcaption><h3>{}</h3>{}{}</figcaption>\n", chart.wide ? " class=\"wide\"" : "",
                  escape(chart.title), remarks(chart, y), legend(chart));
  out += fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" data-unit=\"{}\" data-of=\"{}\" data-range=\"{}\" "
      "data-x=\"{} {} {} {} {}\" data-y=\"{} {} {} {} {}\">\n",
      width, height, escape(chart.title), escape(chart.unit), escape(chart.x), chart.places.empty() ? "raw" : "runs",
      x.from, x.to, x.low, x.high, x.logarithmic ? 1 : 0, y.from, y.to, y.low, y.high, y.logarithmic ? 1 : 0);
  out += grid(x, y, chart.unit) + "\n" + draw_marks(chart, x, y);
  for (const Line& line : chart.lines) out += draw(line, chart, x, y);
  return out + "<g class=\"pointer\"></g></svg></figure>\n";
}

}  // namespace mara::report
