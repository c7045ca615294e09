#pragma once

#include <string>

namespace mara {

/// The message of the exception of type E that `run` throws, or "nothing was thrown".
template <class E, class Run>
std::string message_of(const Run& run) {
  try {
    run();
  } catch (const E& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace mara
