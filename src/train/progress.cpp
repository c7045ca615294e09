#include "train/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "core/format.h"
#include "core/log.h"

namespace mara::train {
namespace {

constexpr double kTerminalSeconds = 0.1, kPlainSeconds = 10;
constexpr double kSmoothing = 0.05;  // weight of the newest step

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Progress::Progress(int64_t steps, int64_t done)
    : steps_(steps), done_(done), terminal_(isatty(STDOUT_FILENO) != 0), started_(Clock::now()), shown_(started_) {}

Progress::~Progress() { finish(); }

std::string Progress::line(const StepMetrics& m) const {
  const double left =
      seconds_since(started_) / static_cast<double>(m.step - done_) * static_cast<double>(steps_ - m.step);
  return fmt::format("step {}/{}  loss {:.4f}  {}  {} tokens/s  {} left", m.step, steps_, loss_, quality_,
                     with_commas(std::llround(tokens_per_second_)), duration(left));
}

void Progress::step(const StepMetrics& m) {
  const double weight = m.step == done_ + 1 ? 1 : kSmoothing;
  if (std::isfinite(m.loss)) loss_ += weight * (m.loss - loss_);
  tokens_per_second_ += weight * (m.tokens_per_second - tokens_per_second_);
  if (seconds_since(shown_) < (terminal_ ? kTerminalSeconds : kPlainSeconds)) return;
  shown_ = Clock::now();
  if (terminal_) {
    std::printf("\r\033[?7l\033[K%s\033[?7h", line(m).c_str());  // not wrapped where it is too long
    std::fflush(stdout);
    open_ = true;
  } else {
    log_info(line(m));
  }
}

void Progress::evaluated(int64_t step, const eval::Evaluation& e) {
  quality_ = quality_text(e);
  const std::string text =
      fmt::format("step {}: valid loss {:.4f}, {} of {} scored", step, e.loss, quality_, with_commas(e.scored));
  terminal_ ? log_quietly(text) : log_info(text);
}

void Progress::finish() {
  if (open_) std::printf("\n");
  open_ = false;
}

}  // namespace mara::train
