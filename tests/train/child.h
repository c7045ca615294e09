#pragma once
// The program as a child process.

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

extern char** environ;

namespace mara::train {

/// `mara arguments...` with its output in a file. Killed at the end if it still runs.
class Child {
 public:
  Child(std::vector<std::string> arguments, const std::filesystem::path& output) {
    arguments.insert(arguments.begin(),
                     {"sh", "-c", "exec \"$0\" \"$@\" > '" + output.string() + "' 2>&1", MARA_PROGRAM});
    std::vector<char*> argv;
    for (std::string& word : arguments) argv.push_back(word.data());
    argv.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&pid_, "/bin/sh", nullptr, nullptr, argv.data(), environ), 0);
  }
  ~Child() {
    if (pid_ == 0) return;
    signal(SIGKILL);
    wait();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void signal(int number) { ::kill(pid_, number); }
  /// The exit code, or minus the signal that ended it.
  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  bool running() const {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
  }
  /// Polls until `condition` holds or the process has ended.
  template <class Condition>
  bool wait_until(const Condition& condition) const {
    while (!condition()) {
      if (!running()) return condition();
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return true;
  }

 private:
  pid_t pid_ = 0;
};

}  // namespace mara::train
