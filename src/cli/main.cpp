// The program: parses the command line, calls a command, turns errors into exit codes.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "cli/commands.h"
#include "core/error.h"

namespace {

constexpr int kFailed = 1, kWrongUse = 2;

int report(const char* text, int code) {
  std::fprintf(stderr, "error: %s\n", text);
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Mara trains sub-quadratic sequence models from recipes."};
  app.require_subcommand(1);
  app.set_version_flag("--version", MARA_VERSION);
  app.footer("Exit codes: 0 fine, 1 failed, 2 wrong usage or recipe.");

  mara::cli::TrainArguments train;
  CLI::App* train_command = app.add_subcommand("train", "Train a recipe's model and evaluate it");
  train_command->add_option("recipe", train.recipe, "YAML file that determines the run")->required();
  train_command->add_option("--set", train.overrides, "Override a key: --set train.steps=100 (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  train_command->add_option("--out", train.out, "Run folder (default: runs/NAME, NAME being run.name)");
  train_command->add_option("--device", train.device, "cpu, cuda or cuda:N")->capture_default_str();
  train_command->add_option("--threads", train.threads, "CPU threads; results do not depend on it (default: all)")
      ->check(CLI::PositiveNumber);
  train_command->add_flag("--force", train.force, "Move an existing run folder aside");

  mara::cli::DescribeArguments describe;
  CLI::App* describe_command =
      app.add_subcommand("describe", "Show parameters, memory, work, the resolved recipe and all options");
  describe_command->add_option("recipe", describe.recipe, "YAML file; without one, only the options are shown");
  describe_command->add_option("--set", describe.overrides, "Override a key: --set model.width=128 (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  describe_command->add_flag("--options", describe.options, "Also list every option with default and meaning");

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::printf("%s", app.help().c_str());
    return 0;
  } catch (const CLI::CallForVersion&) {
    std::printf("mara %s\n", MARA_VERSION);
    return 0;
  } catch (const CLI::ParseError& error) {
    return report((std::string(error.what()) + "; see mara --help").c_str(), kWrongUse);
  }

  try {
    if (train_command->parsed()) return mara::cli::train(train);
    return mara::cli::describe(describe);
  } catch (const mara::Failure& error) {
    return report(error.what(), kFailed);
  } catch (const mara::Error& error) {
    return report(error.what(), kWrongUse);
  } catch (const std::exception& error) {
    return report(error.what(), kFailed);
  }
}
