#include "core/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <memory>

namespace mara {
namespace {

std::shared_ptr<spdlog::logger>& file_logger() {
  static std::shared_ptr<spdlog::logger> logger;
  return logger;
}

void to_file(spdlog::level::level_enum level, std::string_view message) {
  if (file_logger() != nullptr) file_logger()->log(level, message);
}

void print(FILE* stream, const char* prefix, std::string_view message) {
  std::fprintf(stream, "%s%.*s\n", prefix, static_cast<int>(message.size()), message.data());
  std::fflush(stream);
}

}  // namespace

void log_to_file(const std::string& path) {
  file_logger().reset();
  if (path.empty()) return;
  auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
  file_logger() = std::make_shared<spdlog::logger>("run", sink);
  file_logger()->set_pattern("%Y-%m-%d %H:%M:%S %l %v");
  file_logger()->flush_on(spdlog::level::trace);
}

void log_info(std::string_view message) {
  print(stdout, "", message);
  to_file(spdlog::level::info, message);
}

void log_warning(std::string_view message) {
  print(stderr, "warning: ", message);
  to_file(spdlog::level::warn, message);
}

void log_quietly(std::string_view message) { to_file(spdlog::level::info, message); }

}  // namespace mara
