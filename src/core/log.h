#pragma once
// Messages to the person at the terminal, and to the run's log file.

#include <string>
#include <string_view>

namespace mara {

/// Every message also goes to this file, with the time, from now on; empty: to none.
void log_to_file(const std::string& path);

void log_info(std::string_view message);     // stdout
void log_warning(std::string_view message);  // stderr, with "warning:" in front

/// To the log file only.
void log_quietly(std::string_view message);

}  // namespace mara
