#include "report/report.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "cli/commands.h"
#include "core/error.h"
#include "core/format.h"
#include "core/log.h"
#include "io/atomic_file.h"
#include "train/describe.h"

namespace mara::cli {
namespace {

struct Arguments {
  std::vector<std::string> runs;
  std::string out;
  report::Axes axes;
  bool force = false, text = false;
};

// The table of parameters. A recipe that this version cannot read has none to show.
std::string described(const std::filesystem::path& recipe) {
  try {
    const train::Recipe read = train::Recipe::load(recipe.string());
    return train::summary_text(train::describe(read), read);
  } catch (const Error&) {
    return "";
  }
}

int run(const Arguments& arguments) {
  std::vector<report::Run> runs;
  for (const std::string& given : arguments.runs) {
    for (const std::filesystem::path& folder : report::run_folders(given)) {
      runs.push_back(report::read_run(folder));
      if (!arguments.text) runs.back().parameters = described(folder / "recipe.yaml");
    }
  }
  if (arguments.text) {
    std::fputs(printable(report::to_text(runs, arguments.axes), "\n").c_str(), stdout);
    return 0;
  }
  std::filesystem::path out = arguments.out.empty() ? "report.html" : arguments.out;
  if (arguments.out.empty() && arguments.runs.size() == 1) out = std::filesystem::path(arguments.runs[0]) / out;
  const bool exists = std::filesystem::exists(out);
  MARA_CHECK(!exists || std::filesystem::is_regular_file(out), out.string(),
             ": is no file that could be replaced; choose another name with --out");
  MARA_CHECK(arguments.force || !exists, out.string(),
             ": exists; give --force to replace it, or another name with --out");
  const std::string html = report::to_html(runs, arguments.axes);
  io::AtomicFile file(out, arguments.force ? io::Existing::replace : io::Existing::refuse);
  std::ofstream stream(file.temporary(), std::ios::binary);
  MARA_CHECK(stream.good(), out.string(), ": cannot be made there; choose another place with --out");
  stream << html;
  stream.close();
  if (!stream) throw Failure(out.string() + ": cannot be written; is the disk full?");
  file.commit();
  log_info("report: " + out.string());
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  app.add_option("runs", arguments->runs, "Run folders, one or several to compare, or the folder of a sweep")
      ->required();
  app.add_option("--out", arguments->out, "HTML file (default: report.html in the folder given, of several runs here)");
  app.add_option("--x", arguments->axes.x,
                 "Number to draw results against (default: model.width, else what has most values)");
  app.add_option("--lines", arguments->axes.lines,
                 "Setting that tells the lines apart (default: the mixer, and what else differs; repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  app.add_flag("--text", arguments->text, "Print the results instead");
  app.add_flag("--force", arguments->force, "Replace an existing file");
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kReport{"report", "Show runs: curves, summary, recipes and parameters in one HTML file", setup};

}  // namespace mara::cli
