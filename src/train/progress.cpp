#include "train/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "core/log.h"

namespace mara::train {
namespace {

constexpr double kTerminalSeconds = 0.1, kPlainSeconds = 10;
constexpr double kSmoothing = 0.05;  // weight of the newest step

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::string with_commas(int64_t number) {
  const std::string digits = std::to_string(number < 0 ? -number : number);
  std::string out = number < 0 ? "-" : "";
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string duration(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const int64_t whole = std::llround(seconds);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

Progress::Progress(int64_t steps)
    : steps_(steps), terminal_(isatty(STDOUT_FILENO) != 0), started_(Clock::now()), shown_(started_) {}

Progress::~Progress() { finish(); }

std::string Progress::line(const StepMetrics& m) const {
  const double left = seconds_since(started_) / static_cast<double>(m.step) * static_cast<double>(steps_ - m.step);
  return fmt::format("step {}/{}  loss {:.4f}  accuracy {}  {} tokens/s  {} left at most", m.step, steps_, loss_,
                     accuracy_ ? fmt::format("{:.1f} %", 100 * *accuracy_) : "-",
                     with_commas(std::llround(tokens_per_second_)), duration(left));
}

void Progress::step(const StepMetrics& m) {
  const double weight = m.step == 1 ? 1 : kSmoothing;
  if (std::isfinite(m.loss)) loss_ += weight * (m.loss - loss_);
  tokens_per_second_ += weight * (m.tokens_per_second - tokens_per_second_);
  if (seconds_since(shown_) < (terminal_ ? kTerminalSeconds : kPlainSeconds)) return;
  shown_ = Clock::now();
  if (terminal_) {
    std::printf("\r\033[K%s", line(m).c_str());
    std::fflush(stdout);
    open_ = true;
  } else {
    log_info(line(m));
  }
}

void Progress::evaluated(int64_t step, const eval::Evaluation& e) {
  accuracy_ = e.accuracy;
  const std::string text =
      fmt::format("step {}: valid loss {:.4f}, accuracy {:.2f} % of {} scored", step, e.loss, 100 * e.accuracy,
                  with_commas(e.scored));
  terminal_ ? log_quietly(text) : log_info(text);
}

void Progress::finish() {
  if (open_) std::printf("\n");
  open_ = false;
}

}  // namespace mara::train
