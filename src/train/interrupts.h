#pragma once

namespace mara::train {

/// While in scope, SIGINT and SIGTERM are noted instead of ending the process, so that a step and its checkpoint can
/// be completed. A second SIGINT ends the process at once, as without this. One at a time.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// The signal that came, 0: none.
  int signal() const;
};

}  // namespace mara::train
