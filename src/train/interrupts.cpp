#include "train/interrupts.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string_view>

namespace mara::train {
namespace {

constexpr std::array<int, 2> kSignals{SIGINT, SIGTERM};

std::atomic<int> received = 0;  // lock-free, so that a handler may use it
std::array<struct sigaction, kSignals.size()> previous;

void note(int number) {
  if (received != 0 && number == SIGINT) {
    // Taken when this handler returns: the process ends by the signal, as its parent expects.
    ::signal(SIGINT, SIG_DFL);
    ::raise(SIGINT);
    return;
  }
  received = number;
  constexpr std::string_view text = "\nstopping after this step, the state is saved; Ctrl-C again stops at once\n";
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

Interrupts::Interrupts() {
  received = 0;
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &action, &previous[i]);
}

Interrupts::~Interrupts() {
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &previous[i], nullptr);
}

int Interrupts::signal() const { return received; }

}  // namespace mara::train
