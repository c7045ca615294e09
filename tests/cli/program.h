#pragma once
// The program itself, as a user runs it.

#include <spawn.h>
#include <sys/wait.h>

#include "train/recipes.h"

extern char** environ;

namespace mara::cli {

class Program : public testing::Test {
 protected:
  /// Starts `mara arguments...` in this test's folder, its output going to files there.
  pid_t start(const std::vector<std::string>& arguments) {
    const std::string shell = "cd " + folder_.path().string() + " && exec \"$0\" \"$@\" > stdout.txt 2> stderr.txt";
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
  std::string printed() const { return train::read_file(folder_ / "stdout.txt"); }
  std::string output() const { return printed() + train::read_file(folder_ / "stderr.txt"); }
  void expect_output(const std::vector<std::string>& parts) const {
    for (const std::string& part : parts) EXPECT_NE(output().find(part), std::string::npos) << part << "\n" << output();
  }
  bool exists(const std::string& name) const { return std::filesystem::exists(folder_ / name); }

  TemporaryFolder folder_;
};

}  // namespace mara::cli
