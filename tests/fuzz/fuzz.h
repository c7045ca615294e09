#pragma once
// What the fuzz targets share. A target is a program of its own: libFuzzer (llvm.org/docs/LibFuzzer.html) calls it with
// ever new inputs and looks for crashes, hangs, and what the address and undefined-behaviour sanitizers report.

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "core/error.h"

namespace mara::fuzz {

/// A place for this process's input, in memory where the system has such a folder: readers take paths.
inline const std::filesystem::path& input_path() {
  static const std::filesystem::path path = [] {
    const std::filesystem::path memory = "/dev/shm";
    return (std::filesystem::exists(memory) ? memory : std::filesystem::temp_directory_path()) /
           ("mara_fuzz_" + std::to_string(getpid()));
  }();
  return path;
}

/// Hands the input to `read` as a file whose name ends as given. An Error is a good answer; another exception ends the
/// program: a finding.
template <class Read>
void read_as_file(const uint8_t* data, size_t size, const Read& read, const std::string& ending = "") {
  const std::filesystem::path path = input_path().string() + ending;
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    read(path);
  } catch (const Error&) {
  }
  std::filesystem::remove(path);
}

/// The bytes of a file that `write` makes at a path.
template <class Write>
std::string written(const Write& write) {
  std::filesystem::remove(input_path());
  write(input_path());
  std::ifstream file(input_path(), std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  file.close();
  std::filesystem::remove(input_path());
  return bytes;
}

}  // namespace mara::fuzz
