#include "report/report.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <memory>

#include "cli/commands.h"
#include "core/error.h"
#include "core/log.h"
#include "io/atomic_file.h"
#include "train/describe.h"

namespace mara::cli {
namespace {

struct Arguments {
  std::vector<std::string> runs;
  std::string out;
  bool force = false;
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
  std::filesystem::path out = arguments.out.empty() ? "report.html" : arguments.out;
  if (arguments.out.empty() && arguments.runs.size() == 1) out = std::filesystem::path(arguments.runs[0]) / out;
  const bool exists = std::filesystem::exists(out);
  MARA_CHECK(!exists || std::filesystem::is_regular_file(out), out.string(),
             ": is no file that could be replaced; choose another name with --out");
  MARA_CHECK(arguments.force || !exists, out.string(),
             ": exists; give --force to replace it, or another name with --out");
  std::vector<report::Run> runs;
  for (const std::string& folder : arguments.runs) {
    runs.push_back(report::read_run(folder));
    runs.back().parameters = described(std::filesystem::path(folder) / "recipe.yaml");
  }
  io::AtomicFile file(out, arguments.force ? io::Existing::replace : io::Existing::refuse);
  std::ofstream stream(file.temporary(), std::ios::binary);
  MARA_CHECK(stream.good(), out.string(), ": cannot be made there; choose another place with --out");
  stream << report::to_html(runs);
  stream.close();
  if (!stream) throw Failure(out.string() + ": cannot be written; is the disk full?");
  file.commit();
  log_info("report: " + out.string());
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  app.add_option("runs", arguments->runs, "Run folders, one or several to compare")->required();
  app.add_option("--out", arguments->out, "HTML file (default: RUN/report.html, of several runs report.html here)");
  app.add_flag("--force", arguments->force, "Replace an existing file");
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kReport{"report", "Show runs: curves, summary, recipes and parameters in one HTML file", setup};

}  // namespace mara::cli
