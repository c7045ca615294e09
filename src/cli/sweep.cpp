#include "cli/sweep.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <list>
#include <memory>
#include <optional>
#include <thread>

#include "core/format.h"
#include "core/log.h"
#include "core/parallel.h"
#include "io/atomic_file.h"
#include "io/folder_lock.h"
#include "report/text_table.h"
#include "train/interrupts.h"
#include "train/run_folder.h"

namespace mara::cli {
namespace {

enum class Status { waiting, finished, stopped, failed };

const char* to_string(Status status) {
  constexpr const char* kNames[] = {"not started", "finished", "stopped", "failed"};
  return kNames[static_cast<int>(status)];
}

struct Result {
  Status status = Status::waiting;
  std::optional<train::Outcome> outcome;  // of a finished run
  std::string error = "";                 // of a failed one
};

/// `mara` once more, with nothing on the terminal: what it has to say is in the run's log.
class Child {
 public:
  explicit Child(std::vector<std::string> arguments) : errors_(std::tmpfile(), std::fclose) {
    if (!errors_) throw Failure(std::string("sweep: no temporary file: ") + std::strerror(errno));
    arguments.insert(arguments.begin(), "mara");
    std::vector<char*> argv;
    for (std::string& word : arguments) argv.push_back(word.data());
    argv.push_back(nullptr);
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) throw Failure(std::string("sweep: no process can be started: ") + std::strerror(errno));
    if (pid_ > 0) return;
    // Only what is allowed between fork and exec. In a group of its own, so that Ctrl-C comes to it once, from us; and
    // if we end in any way it stops, its state saved.
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int nothing = open("/dev/null", O_RDWR);
    if (getppid() == parent && dup2(nothing, STDIN_FILENO) >= 0 && dup2(nothing, STDOUT_FILENO) >= 0 &&
        dup2(fileno(errors_.get()), STDERR_FILENO) >= 0) {
      execv("/proc/self/exe", argv.data());
    }
    _exit(127);
  }

  void signal(int number) const { kill(pid_, number); }
  /// Its exit status once it has ended.
  std::optional<int> ended() const {
    int status = 0;
    return waitpid(pid_, &status, WNOHANG) == pid_ ? std::optional(status) : std::nullopt;
  }
  /// What it said after "error: ".
  std::string error() const {
    std::string text;
    char part[4096];
    std::rewind(errors_.get());
    while (const size_t count = std::fread(part, 1, sizeof part, errors_.get())) text.append(part, count);
    const size_t begin = ("\n" + text).rfind("\nerror: ");
    if (begin == text.npos) return "";
    const size_t end = text.find_last_not_of('\n');
    return text.substr(begin + 7, end - begin - 6);
  }

 private:
  pid_t pid_;
  std::unique_ptr<FILE, int (*)(FILE*)> errors_;
};

Result result_of(const Child& child, int status, const std::filesystem::path& folder) {
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  if (code == 128 + SIGINT || code == 128 + SIGTERM) return {.status = Status::stopped};
  if (WIFEXITED(status) && code == 0) return {.status = Status::finished, .outcome = train::RunFolder::outcome(folder)};
  std::string error = child.error();
  if (WIFSIGNALED(status)) error = std::string("ended by a signal: ") + strsignal(WTERMSIG(status));
  return {.status = Status::failed, .error = error.empty() ? detail::join({"exit code ", code}) : error};
}

std::string number_text(const char* format, double value) {
  char text[40];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// "accuracy 98.20 %, loss 0.0312, 400 steps, 8.3 s"
std::string outcome_text(const train::Outcome& o) {
  std::string out;
  if (o.test) out = eval::quality_text(*o.test) + ", loss " + number_text("%.4g", o.test->loss) + ", ";
  return out + with_commas(o.steps) + " steps, " + duration(o.seconds);
}

class Sweep {
 public:
  Sweep(const std::vector<train::SweepPoint>& points, const SweepOptions& options)
      : points_(points), options_(options), results_(points.size()) {
    for (size_t i = 0; i < points.size(); ++i) {
      check_same_recipe(points[i], folder(i));
      results_[i].outcome = train::RunFolder::outcome(folder(i));
      if (results_[i].outcome) results_[i].status = Status::finished;
    }
  }

  int run() {
    make_folders();
    const io::FolderLock lock(options_.folder);
    const int64_t finished = count(Status::finished);
    log_info(detail::join({"sweep of ", points_.size(), " runs in ", options_.folder.string(), ", ", finished,
                           " finished before, ", options_.jobs, " at once on ", options_.device,
                           "; each has its log.txt there"}));
    const int signal = run_all();
    const std::string written = write_results();
    log_info("\n" + table() + "results: " + written);
    if (signal != 0) {
      log_info("interrupted, the states are saved; the same command goes on");
      return 128 + signal;
    }
    log_info("mara report " + options_.folder.string() + " draws them");
    return count(Status::finished) == static_cast<int64_t>(points_.size()) ? 0 : 1;
  }

 private:
  std::filesystem::path folder(size_t i) const { return options_.folder / points_[i].name; }
  int64_t count(Status status) const {
    return std::count_if(results_.begin(), results_.end(), [&](const Result& r) { return r.status == status; });
  }

  // The recipes are written first: editing a recipe's file does not change a sweep that has begun.
  void make_folders() const {
    for (size_t i = 0; i < points_.size(); ++i) {
      train::RunFolder::prepare(folder(i), config::to_yaml(points_[i].recipe));
    }
  }

  Child start(size_t i) const {
    const std::string threads = std::to_string(std::max(1, thread_count() / options_.jobs));
    std::vector<std::string> arguments = {"train",     (folder(i) / "recipe.yaml").string(),
                                          "--out",     folder(i).string(),
                                          "--resume",  "latest",
                                          "--device",  mara::to_string(options_.device),
                                          "--threads", threads};
    if (options_.no_check) arguments.push_back("--no-check");
    return Child(std::move(arguments));
  }

  /// Returns the signal that stopped it, or 0.
  int run_all() {
    struct Job {
      size_t point;
      Child child;
    };
    std::list<Job> running;
    const train::Interrupts interrupts;
    int passed_on = 0;
    size_t next = 0;
    while (true) {
      while (interrupts.signal() == 0 && static_cast<int>(running.size()) < options_.jobs && next < points_.size()) {
        if (results_[next].status == Status::waiting) running.push_back({next, start(next)});
        ++next;
      }
      if (running.empty()) return interrupts.signal();
      if (const int signal = interrupts.signal(); signal != passed_on) {
        for (const Job& job : running) job.child.signal(signal);
        passed_on = signal;
      }
      for (auto job = running.begin(); job != running.end();) {
        const std::optional<int> status = job->child.ended();
        if (status) {
          results_[job->point] = result_of(job->child, *status, folder(job->point));
          say(job->point);
        }
        job = status ? running.erase(job) : std::next(job);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  void say(size_t i) const {
    const Result& r = results_[i];
    const int64_t done = static_cast<int64_t>(points_.size()) - count(Status::waiting);
    const std::string name = detail::join({"[", done, "/", points_.size(), "] ", points_[i].name, ": "});
    if (r.outcome) {
      log_info(name + outcome_text(*r.outcome));
    } else if (r.status == Status::failed) {
      log_warning(name + "failed: " + printable(r.error, "\n"));
    } else {
      log_info(name + to_string(r.status));
    }
  }

  std::string table() const {
    std::vector<std::vector<std::string>> rows;
    for (size_t i = 0; i < points_.size(); ++i) {
      const Result& r = results_[i];
      std::vector<std::string> row{points_[i].name, to_string(r.status), "", "", "", ""};
      if (r.outcome) {
        if (r.outcome->test) {
          row[2] = eval::quality_text(*r.outcome->test);
          row[3] = number_text("%.4g", r.outcome->test->loss);
        }
        row[4] = with_commas(r.outcome->steps);
        row[5] = duration(r.outcome->seconds);
      }
      rows.push_back(row);
    }
    return report::text_table({"run", "status", "test", "loss", "steps", "time"}, rows);
  }

  std::string write_results() const {
    std::string text = "run\tstatus\taccuracy\tloss\tbits_per_byte\tsteps\tseconds\terror\n";
    for (size_t i = 0; i < points_.size(); ++i) {
      const Result& r = results_[i];
      const auto number = [](bool known, double value) { return known ? number_text("%.9g", value) : ""; };
      const bool ended = r.outcome.has_value(), tested = ended && r.outcome->test;
      const eval::Evaluation test = tested ? *r.outcome->test : eval::Evaluation{};
      std::string error = printable(r.error, "\n");
      std::replace(error.begin(), error.end(), '\n', ' ');
      const std::string cells[] = {points_[i].name,
                                   to_string(r.status),
                                   number(test.accuracy.has_value(), test.accuracy.value_or(0)),
                                   number(tested, test.loss),
                                   number(test.bits_per_byte.has_value(), test.bits_per_byte.value_or(0)),
                                   number(ended, ended ? static_cast<double>(r.outcome->steps) : 0),
                                   number(ended, ended ? r.outcome->seconds : 0),
                                   error};
      for (const std::string& cell : cells) text += (&cell == cells ? "" : "\t") + cell;
      text += "\n";
    }
    io::AtomicFile file(options_.folder / "results.tsv", io::Existing::replace);
    std::ofstream(file.temporary(), std::ios::binary) << text << std::flush;
    file.commit();
    return file.target().string();
  }

  const std::vector<train::SweepPoint>& points_;
  const SweepOptions& options_;
  std::vector<Result> results_;
};

}  // namespace

int run_sweep(const std::vector<train::SweepPoint>& points, const SweepOptions& options) {
  MARA_CHECK(!std::filesystem::exists(options.folder / "metrics.jsonl"), options.folder.string(),
             ": a folder for the runs of a sweep is required, this one holds a run itself; choose another with --out");
  return Sweep(points, options).run();
}

}  // namespace mara::cli
