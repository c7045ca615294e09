#include "report/report.h"

#include <fmt/format.h>

#include "core/format.h"
#include "report/curves.h"
#include "report/html.h"
#include "report/summary.h"

namespace mara::report {
namespace {

std::string heading(const std::string& title, const std::string& below) {
  return "<header><h1>" + escape(title) + "</h1><p>" + escape(below) + "</p></header>\n";
}

std::string started_text(const Run& run) { return run.started.empty() ? "" : ", started " + run.started; }

// Names of all runs, each a switch for its lines.
std::string switches(const std::vector<Run>& runs) {
  std::string out;
  for (size_t i = 0; i < runs.size(); ++i) {
    out += fmt::format(
        "<button type=\"button\" class=\"{}\" data-line=\"{}\" aria-pressed=\"true\" title=\"{}\">{}</button>\n",
        line_style(i), i, escape(runs[i].folder), escape(runs[i].name));
  }
  return "<nav class=\"runs\">" + out + "</nav>\n";
}

std::string drawn_curves(const std::vector<Run>& runs) {
  std::string out;
  for (const Chart& chart : curves(runs)) out += to_svg(chart);
  return out.empty() ? ""
                     : "<section class=\"charts" + std::string(runs.size() > 1 ? " several" : "") + "\">\n" + out +
                           "</section>\n";
}

std::string drawn_sweep(const std::vector<Run>& runs, const Axes& axes) {
  const std::optional<Sweep> found = sweep(runs, axes);
  if (!found) return "";
  std::string charts, tables;
  for (const Chart& chart : sweep_charts(*found)) charts += to_svg(chart);
  for (const SweepMetric& metric : found->metrics) {
    SweepTable cells = sweep_table(*found, metric);
    for (std::string& heading : cells.headings) heading = escape(heading);
    for (size_t i = 0; i < cells.rows.size(); ++i) {
      for (std::string& cell : cells.rows[i]) cell = escape(cell);
      cells.rows[i][0] = key(i, found->names[i]);
    }
    tables += "<h2>" + escape(cells.title) + "</h2>\n" + table(cells.headings, cells.rows);
  }
  return "<section class=\"charts\">\n" + charts + "</section>\n" + tables;
}

// Recipe, parameters and samples of a run; each is left out where there is none.
std::string texts(const Run& run, const std::string& prefix, bool open) {
  std::string out;
  const auto add = [&](const char* title, const std::string& text, const std::string& html, const char* style) {
    if (text.empty()) return;
    out += folding(prefix + title, std::string("<pre") + style + ">" + html + "</pre>", open);
  };
  add("Recipe", run.recipe, marked_yaml(run.recipe), "");
  add("Parameters", run.parameters, escape(run.parameters), "");
  add("Samples", run.samples, escape(run.samples), " class=\"wrap\"");
  return out;
}

// Runs in different folders may have the same name.
std::vector<Run> with_distinct_names(std::vector<Run> runs) {
  std::map<std::string, int> count;
  for (const Run& run : runs) ++count[run.name];
  for (Run& run : runs) {
    if (count[run.name] > 1) run.name = run.folder;
  }
  return runs;
}

}  // namespace

std::string to_html(const std::vector<Run>& given, const Axes& axes) {
  const std::vector<Run> runs = with_distinct_names(given);
  if (runs.size() == 1) {
    const Run& run = runs[0];
    return page(run.name, heading(run.name, run.folder + started_text(run)) + notes(run, false) + tiles(run) +
                              drawn_curves(runs) + evaluations(run) + "<section class=\"texts\">" +
                              texts(run, "", true) + "</section>\n");
  }
  std::string all_notes, all_texts;
  for (const Run& run : runs) {
    all_notes += notes(run, true);
    all_texts += texts(run, run.name + ": ", false);
  }
  const std::string title = with_commas(static_cast<int64_t>(runs.size())) + " runs compared";
  std::string names;
  for (const Run& run : runs) names += (names.empty() ? "" : ", ") + run.name;
  return page(title, heading(title, names) + all_notes + drawn_sweep(runs, axes) + comparison(runs) + switches(runs) +
                         drawn_curves(runs) + differing_settings(runs) + "<section class=\"texts\">" + all_texts +
                         "</section>\n");
}

std::string to_text(const std::vector<Run>& given, const Axes& axes) {
  const std::vector<Run> runs = with_distinct_names(given);
  const std::optional<Sweep> found = sweep(runs, axes);
  return (found ? sweep_text(*found) : "") + results_text(runs);
}

}  // namespace mara::report
