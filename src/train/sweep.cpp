#include "train/sweep.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "core/format.h"
#include "train/run_folder.h"

namespace mara::train {
namespace {

struct Setting {
  std::string key, value;
};

/// What is set together at each place of an axis.
using Axis = std::vector<std::vector<Setting>>;

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \n"), end = text.find_last_not_of(" \n");
  return begin == text.npos ? "" : text.substr(begin, end - begin + 1);
}

/// The pieces between separators that are in no brackets and no quotes, without blanks around them.
std::vector<std::string> pieces(const std::string& text, char separator, const std::string& where) {
  std::vector<std::string> out{""};
  std::string open;  // closing characters that are still to come
  for (const char c : text) {
    std::string& piece = out.back();
    const bool in_quotes = !open.empty() && (open.back() == '"' || open.back() == '\'');
    const size_t before = piece.find_last_not_of(' ');  // a quote inside a word is an apostrophe
    const bool may_quote = before == piece.npos || std::string_view("[{,:=").find(piece[before]) != std::string::npos;
    if (!open.empty() && c == open.back()) {
      open.pop_back();
    } else if (!in_quotes && (c == '[' || c == '{')) {
      open += c == '[' ? ']' : '}';
    } else if (!in_quotes && may_quote && (c == '"' || c == '\'')) {
      open += c;
    } else if (open.empty() && c == separator) {
      out.emplace_back();
      continue;
    }
    piece += c;
  }
  MARA_CHECK(open.empty(), where, ": a ", open.substr(open.empty() ? 0 : open.size() - 1),
             " is required that closes what was opened");
  for (std::string& piece : out) piece = trimmed(piece);
  return out;
}

Axis parse_axis(const std::string& text) {
  const std::string where = "--sweep " + text;
  Axis axis;
  std::string first_key;
  for (const std::string& part : pieces(text, ';', where)) {
    const size_t equals = part.find('=');
    MARA_CHECK(equals != std::string::npos && equals > 0, where, ": key=value,value,... is required, got '", part,
               "', as in model.width=64,128");
    const std::string key = trimmed(part.substr(0, equals));
    const std::vector<std::string> values = pieces(part.substr(equals + 1), ',', where);
    if (axis.empty()) {
      first_key = key;
      axis.resize(values.size());
    }
    MARA_CHECK(values.size() == axis.size(), where, ": keys that move together need as many values each, ", first_key,
               " has ", axis.size(), " and ", key, " has ", values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      MARA_CHECK(!values[i].empty(), where, ": ", key, ": a value is required before and after every comma");
      axis[i].push_back({key, values[i]});
    }
  }
  return axis;
}

/// The end of each key, at a dot, that no other key ends in.
std::vector<std::string> short_keys(const std::vector<std::string>& keys) {
  std::vector<std::string> out;
  for (const std::string& key : keys) {
    size_t dot = key.rfind('.');
    const auto ambiguous = [&](const std::string& end) {
      return std::count_if(keys.begin(), keys.end(),
                           [&](const std::string& k) { return ("." + k).ends_with("." + end); });
    };
    while (dot != key.npos && ambiguous(key.substr(dot + 1)) > 1) dot = dot == 0 ? key.npos : key.rfind('.', dot - 1);
    out.push_back(dot == key.npos ? key : key.substr(dot + 1));
  }
  return out;
}

/// What to do instead where the options of one kind are in the way of another: "; sweep whole mappings, ...".
std::string advice_on_kinds(const Axis& axis) {
  std::string out;
  for (size_t i = 0; i < axis[0].size(); ++i) {
    const std::string& key = axis[0][i].key;
    if (!key.ends_with(".kind")) continue;
    std::string mappings;
    for (const std::vector<Setting>& place : axis) {
      mappings += (mappings.empty() ? "{kind: " : ",{kind: ") + place[i].value + "}";
    }
    out += "; each kind has options of its own, so sweep whole mappings: " + key.substr(0, key.rfind('.')) + "=" +
           mappings;
  }
  return out;
}

std::string for_a_name(const std::string& value) {
  std::string out;
  bool gap = false;
  for (const char c : value) {
    if (std::isalnum(static_cast<unsigned char>(c)) || std::string_view("._+-").find(c) != std::string::npos) {
      out += (gap && !out.empty() ? "-" : "") + std::string(1, c);
      gap = false;
    } else {
      gap = true;
    }
  }
  return out;
}

/// The settings of every combination of places, the last axis fastest.
std::vector<std::vector<Setting>> combinations(const std::vector<Axis>& axes) {
  std::vector<std::vector<Setting>> out{{}};
  for (const Axis& axis : axes) {
    std::vector<std::vector<Setting>> longer;
    for (const std::vector<Setting>& before : out) {
      for (const std::vector<Setting>& place : axis) {
        longer.push_back(before);
        longer.back().insert(longer.back().end(), place.begin(), place.end());
      }
    }
    out = std::move(longer);
  }
  return out;
}

}  // namespace

std::vector<SweepPoint> sweep_points(const std::vector<std::string>& recipes, const std::vector<std::string>& overrides,
                                     const std::vector<std::string>& axes) {
  std::vector<Axis> parsed;
  std::vector<std::string> keys;
  std::string advice;
  for (const std::string& axis : axes) {
    parsed.push_back(parse_axis(axis));
    for (const Setting& setting : parsed.back()[0]) {
      MARA_CHECK(std::find(keys.begin(), keys.end(), setting.key) == keys.end(), "--sweep ", axis, ": ", setting.key,
                 " is swept twice; give all its values at once");
      MARA_CHECK(std::none_of(overrides.begin(), overrides.end(),
                              [&](const std::string& o) { return trimmed(o.substr(0, o.find('='))) == setting.key; }),
                 "--sweep ", axis, ": ", setting.key, " is set and swept; leave one of the two out");
      keys.push_back(setting.key);
    }
    advice += advice_on_kinds(parsed.back());
  }
  const std::vector<std::string> names = short_keys(keys);
  std::vector<SweepPoint> points;
  for (const std::string& path : recipes) {
    const std::string prefix = recipes.size() > 1 ? Recipe::load(path, overrides).run.name : "";
    for (const std::vector<Setting>& settings : combinations(parsed)) {
      SweepPoint point{.name = prefix};
      std::vector<std::string> all = overrides;
      for (size_t i = 0; i < settings.size(); ++i) {
        point.name += (point.name.empty() ? "" : ",") + names[i] + "=" + for_a_name(settings[i].value);
        all.push_back(settings[i].key + "=" + settings[i].value);
      }
      const ErrorContext frame("the run " + point.name + " of " + path + advice);
      MARA_CHECK(point.name.size() <= 200, "sweep: names of run folders have at most 200 characters; sweep fewer keys");
      MARA_CHECK(std::none_of(points.begin(), points.end(), [&](const SweepPoint& p) { return p.name == point.name; }),
                 "sweep: another run would have the same folder; give each value once, and recipes of different "
                 "run.name");
      point.recipe = Recipe::load(path, all);
      points.push_back(std::move(point));
    }
  }
  return points;
}

void check_same_recipe(const SweepPoint& point, const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "recipe.yaml";
  if (!std::filesystem::exists(file)) return;
  std::vector<std::string> lines;
  for (const Difference& d : differences(Recipe::load(file.string()), point.recipe)) {
    lines.push_back(d.key + ": " + d.first + " there, " + d.second + " now");
  }
  MARA_CHECK(lines.empty(), folder.string(), ": holds a run of another recipe, these differ:", listed(lines),
             "\nundo the change, or choose another folder with --out");
}

}  // namespace mara::train
