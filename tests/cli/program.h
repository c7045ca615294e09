#pragma once
// The program itself, as a user runs it.

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "train/recipes.h"

extern char** environ;

namespace mara::cli {

class Program : public testing::Test {
 protected:
  /// Starts `mara arguments...` in this test's folder, its output going to files there.
  pid_t start(const std::vector<std::string>& arguments, const std::string& out = "stdout.txt") {
    const std::string shell = "cd " + folder_.path().string() + " && exec \"$0\" \"$@\" > " + out + " 2> stderr.txt";
    std::vector<std::string> words = {"sh", "-c", shell, MARA_PROGRAM};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_t pid = 0;
    EXPECT_EQ(posix_spawn(&pid, "/bin/sh", nullptr, nullptr, argv.data(), environ), 0);
    return pid;
  }
  static int wait_for(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  int run(const std::vector<std::string>& arguments) { return wait_for(start(arguments)); }
  /// What a terminal gets to see of it; nothing where there are none, as in a container without /dev/pts.
  std::optional<std::string> run_on_terminal(const std::vector<std::string>& arguments) {
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0) return std::nullopt;
    EXPECT_TRUE(grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    EXPECT_EQ(wait_for(start(arguments, ptsname(terminal))), 0) << output();
    std::string shown(4096, '\0');  // as much as one holds
    shown.resize(static_cast<size_t>(std::max<ssize_t>(read(terminal, shown.data(), shown.size()), 0)));
    close(terminal);
    return shown;
  }
  std::string printed() const { return train::read_file(folder_ / "stdout.txt"); }
  std::string output() const { return printed() + train::read_file(folder_ / "stderr.txt"); }
  void expect_output(const std::vector<std::string>& parts) const {
    for (const std::string& part : parts) EXPECT_NE(output().find(part), std::string::npos) << part << "\n" << output();
  }
  bool exists(const std::string& name) const { return std::filesystem::exists(folder_ / name); }

  TemporaryFolder folder_;
};

}  // namespace mara::cli
