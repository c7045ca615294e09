#include "weights/sequences.h"

#include <cctype>
#include <fstream>
#include <iterator>
#include <utility>

#include "core/error.h"
#include "io/file.h"

namespace mara::weights {
namespace {

constexpr size_t kMostSequences = 10'000;  // their names alone are half of what a safetensors header may hold

}  // namespace

std::vector<Sequence> read_sequences(const std::filesystem::path& path, int64_t vocabulary, int64_t length) {
  io::File::open_to_read(path);  // refuses what is no file
  std::ifstream file(path, std::ios::binary);
  std::vector<Sequence> out;
  Sequence now{.line = 1, .ids = {}};
  int64_t column = 0, id = -1;  // -1: between ids
  const auto fail = [&](std::initializer_list<detail::Part> what) {
    throw Error(detail::join({path.string(), ":", now.line, ":", column, ": ", detail::join(what)}));
  };
  for (std::istreambuf_iterator<char> at(file), end;; ++at) {
    const bool over = at == end;
    const char c = over ? '\n' : *at;
    ++column;
    if (c >= '0' && c <= '9') {
      if (now.ids.empty() && out.size() == kMostSequences) {
        fail({"at most ", kMostSequences, " sequences are read; split the file"});
      }
      if (id < 0 && static_cast<int64_t>(now.ids.size()) == length) {
        fail({"at most ", length, " ids a line are read, the length the model was trained for; cut the line"});
      }
      id = std::max<int64_t>(id, 0) * 10 + (c - '0');
      if (id >= vocabulary) fail({"ids below the vocabulary's size ", vocabulary, " are required, got ", id});
      continue;
    }
    if (std::isspace(static_cast<unsigned char>(c)) == 0) {
      fail({"ids and spaces are required, got byte ", static_cast<int>(static_cast<unsigned char>(c))});
    }
    if (id >= 0) now.ids.push_back(static_cast<int32_t>(std::exchange(id, -1)));
    if (c != '\n') continue;
    const int64_t next = now.line + 1;
    if (!now.ids.empty()) out.push_back(std::move(now));
    now = {.line = next, .ids = {}};
    column = 0;
    if (over) break;
  }
  MARA_CHECK(!out.empty(), path.string(), ": a sequence of ids a line is required, there is none");
  return out;
}

}  // namespace mara::weights
