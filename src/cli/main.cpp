// The program: parses the command line, runs a command, turns errors into exit codes.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>

#include "cli/commands.h"
#include "core/error.h"
#include "core/format.h"

namespace {

using namespace mara::cli;

constexpr const Command* kCommands[] = {&kTrain,  &kEval,     &kGenerate, &kReport, &kExport, &kImport,
                                        &kLogits, &kDescribe, &kCheck,    &kBench,  &kData};
constexpr int kFailed = 1, kWrongUse = 2;

int fail(const std::string& text, int code) {
  std::fprintf(stderr, "error: %s\n", mara::printable(text, "\n\t").c_str());  // may quote any file
  return code;
}

// Threads that wait for work spin for milliseconds by default, which on a busy machine takes the core from the thread
// they wait for. The OpenMP library reads its environment before main, so the program starts itself anew with a short
// spin; if that is refused it goes on as it is.
void limit_spinning(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "10000", 0);
  execv("/proc/self/exe", argv);
}

}  // namespace

int main(int argc, char** argv) {
  limit_spinning(argv);
  std::signal(SIGXFSZ, SIG_IGN);  // writing beyond a limit on file sizes fails like writing to a full disk
  CLI::App app{"Mara trains sub-quadratic sequence models from recipes."};
  app.require_subcommand(0, 1);  // 1 would hide a misspelt command behind "a subcommand is required"
  app.set_version_flag("--version", MARA_VERSION);
  app.footer(
      "Exit codes: 0 fine; 1 failed; 2 wrong usage, recipe or file; 130 and 143: SIGINT and SIGTERM stopped a run,\n"
      "its state is saved.");
  std::function<int()> run;
  for (const Command* command : kCommands) {
    CLI::App* parser = app.add_subcommand(command->name, command->help);
    parser->final_callback([&run, chosen = command->setup(*parser)] { run = chosen; });
  }

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::printf("%s", app.help().c_str());
    return 0;
  } catch (const CLI::CallForVersion&) {
    std::printf("mara %s\n", MARA_VERSION);
    return 0;
  } catch (const CLI::ParseError& error) {
    return fail(std::string(error.what()) + "; see mara --help", kWrongUse);
  }

  if (!run) return fail("a command is required; see mara --help", kWrongUse);
  try {
    return run();
  } catch (const mara::Failure& error) {
    return fail(error.what(), kFailed);
  } catch (const mara::Error& error) {
    return fail(error.what(), kWrongUse);
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(error.path1().string() + ": " + error.code().message(), kWrongUse);
  } catch (const std::bad_alloc&) {
    return fail("out of memory; a smaller train.batch, model or data set is required", kFailed);
  } catch (const std::exception& error) {
    return fail(error.what(), kFailed);
  }
}
