#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "core/runtime.h"
#include "io/hash.h"

namespace mara::checkpoint {
namespace {

constexpr const char *kFormat = "format", *kFormatName = "mara-checkpoint";
constexpr const char *kStep = "step", *kRecipe = "recipe", *kHash = "xxh3";
constexpr const char *kScore = "score", *kScoreName = "score_name";

/// All that a state function names.
class Collector final : public StateVisitor {
 public:
  explicit Collector(const StateFunction& state) { state(*this); }
  void tensor(const std::string& name, const Tensor& tensor) override { tensors.emplace_back(name, tensor); }
  void integer(const std::string& name, int64_t& value) override { integers.emplace_back(name, &value); }
  void same(const std::string& name, const std::string& value) override { same_texts.emplace_back(name, value); }
  void after_loading(std::function<void()> rebuild) override { rebuilds.push_back(std::move(rebuild)); }

  std::vector<std::pair<std::string, Tensor>> tensors;
  std::vector<std::pair<std::string, int64_t*>> integers;
  std::vector<std::pair<std::string, std::string>> same_texts;
  std::vector<std::function<void()>> rebuilds;
};

int64_t bytes_of(const Tensor& tensor) { return tensor.numel() * size_of(tensor.dtype()); }

bool all_finite(const std::vector<std::byte>& bytes, Dtype dtype) {
  if (!is_float(dtype)) return true;
  return dispatch_float(dtype, [&]<class T>() {
    const T* values = reinterpret_cast<const T*>(bytes.data());
    return std::all_of(values, values + bytes.size() / sizeof(T),
                       [](T value) { return std::isfinite(static_cast<Compute<T>>(value)); });
  });
}

/// What keeps `state` from being filled from the file.
std::vector<std::string> differences(const Collector& state, const io::Hdf5Reader& file, bool whole) {
  std::vector<std::string> out;
  const auto add = [&](std::initializer_list<detail::Part> parts) { out.push_back(detail::join(parts)); };
  std::vector<std::string> wanted;
  for (const auto& [name, tensor] : state.tensors) {
    wanted.push_back(name);
    const io::Dataset* stored = file.find(name);
    if (stored == nullptr) {
      add({name, ": missing, ", tensor.dtype(), " of shape ", tensor.shape(), " is required"});
    } else if (stored->type != io::element_type(tensor.dtype()) || stored->shape != tensor.shape()) {
      add({name, ": ", tensor.dtype(), " of shape ", tensor.shape(), " is required, there is ", stored->type,
           " of shape ", stored->shape});
    }
  }
  std::sort(wanted.begin(), wanted.end());
  for (const io::Dataset& stored : file.datasets()) {
    if (whole && !std::binary_search(wanted.begin(), wanted.end(), stored.name)) {
      add({stored.name, ": ", stored.type, " of shape ", stored.shape, " is there, nothing here has this name"});
    }
  }
  for (const auto& [name, value] : state.integers) {
    if (!file.has_attribute(name)) add({"the number ", name, " is missing"});
  }
  for (const auto& [name, value] : state.same_texts) {
    const std::string stored = file.has_attribute(name) ? file.text(name) : "nothing";
    if (stored != value) add({name, ": ", value, " is required, there is ", stored});
  }
  return out;
}

void fill(const Collector& state, const io::Hdf5Reader& file, bool whole) {
  const std::string name = file.path().string();
  const std::vector<std::string> unlike = differences(state, file, whole);
  MARA_CHECK(unlike.empty(), name, ": does not fit this recipe's model:", listed(unlike),
             "\nuse the recipe it was trained with, which is in it, or another checkpoint");
  std::vector<std::byte> bytes;
  for (const auto& [key, tensor] : state.tensors) {
    const io::Dataset& stored = *file.find(key);
    bytes.resize(static_cast<size_t>(bytes_of(tensor)));
    file.read(stored, 0, bytes);
    MARA_CHECK(io::hash_text(io::xxh3(bytes.data(), bytes.size())) == file.text(stored, kHash), name, ": dataset ", key,
               ": its bytes do not have the checksum stored with it; use another checkpoint");
    MARA_CHECK(all_finite(bytes, tensor.dtype()), name, ": dataset ", key,
               ": holds numbers that are not finite; use an earlier checkpoint");
    runtime(tensor.device()).copy_to_device(tensor.view().data, bytes.data(), bytes.size());
  }
  for (const auto& [key, value] : state.integers) *value = file.integer(key);
  for (const std::function<void()>& rebuild : state.rebuilds) rebuild();
}

std::optional<Score> read_score(const io::Hdf5Reader& file) {
  if (!file.has_attribute(kScore)) return std::nullopt;
  const std::string text = file.text(kScore);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  MARA_CHECK(error == std::errc() && end == text.data() + text.size(), file.path().string(), ": attribute ", kScore,
             ": a number is required, got '", text, "'");
  return Score{file.text(kScoreName), value};
}

std::vector<std::filesystem::path> candidates(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> out;
  if (!std::filesystem::exists(folder)) return out;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file() && !io::is_temporary(entry.path())) out.push_back(entry.path());
  }
  return out;
}

std::string exact_text(double value) {
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, "%.17g", value);
  return buffer;
}

}  // namespace

Snapshot::Snapshot(const StateFunction& state) {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : Collector(state).tensors) {
    entries_.push_back({name, tensor.dtype(), tensor.shape(), bytes, bytes_of(tensor)});
    bytes += entries_.back().bytes;
  }
  memory_.resize(static_cast<size_t>(bytes));
}

void Snapshot::capture(const StateFunction& state) {
  const Collector now(state);
  MARA_ASSERT(now.tensors.size() == entries_.size());
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Tensor& tensor = now.tensors[i].second;
    MARA_ASSERT(tensor.contiguous() && bytes_of(tensor) == entries_[i].bytes);
    runtime(tensor.device())
        .copy_to_host(memory_.data() + entries_[i].offset, tensor.view().data, static_cast<size_t>(entries_[i].bytes));
  }
  integers_.clear();
  for (const auto& [name, value] : now.integers) integers_.emplace_back(name, *value);
  same_ = now.same_texts;
}

int64_t Snapshot::step() const {
  const auto at =
      std::find_if(integers_.begin(), integers_.end(), [](const auto& item) { return item.first == kStep; });
  MARA_ASSERT(at != integers_.end());
  return at->second;
}

void Snapshot::write(const std::filesystem::path& path, const std::string& recipe, const std::optional<Score>& score,
                     io::Existing existing) const {
  io::AtomicFile atomic(path, existing);
  io::Hdf5Writer file(atomic.temporary(), static_cast<int64_t>(memory_.size()));
  file.attribute(kFormat, kFormatName);
  file.attribute(kRecipe, recipe);
  for (const auto& [name, value] : integers_) file.attribute(name, value);
  for (const auto& [name, value] : same_) file.attribute(name, value);
  if (score) {
    file.attribute(kScoreName, score->name);
    file.attribute(kScore, exact_text(score->value));
  }
  for (const Entry& entry : entries_) {
    const std::byte* data = memory_.data() + entry.offset;
    const io::Dataset dataset = file.add(entry.name, io::element_type(entry.dtype), entry.shape, data);
    file.attribute(dataset, kHash, io::hash_text(io::xxh3(data, static_cast<size_t>(entry.bytes))));
  }
  file.finish(io::FileKind::checkpoint);
  atomic.commit();
}

Checkpoint::Checkpoint(const std::filesystem::path& path) : file_(path, io::FileKind::checkpoint) {
  MARA_CHECK(file_.text(kFormat) == kFormatName, path.string(), ": attribute ", kFormat, ": ", kFormatName,
             " is required, got ", file_.text(kFormat));
  step_ = file_.integer(kStep);
  recipe_ = file_.text(kRecipe);
  score_ = read_score(file_);
}

void Checkpoint::load(const StateFunction& state) const { fill(Collector(state), file_, true); }
void Checkpoint::load_part(const StateFunction& state) const { fill(Collector(state), file_, false); }

std::vector<Found> find_all(const std::filesystem::path& folder) {
  std::vector<Found> out;
  for (const std::filesystem::path& path : candidates(folder)) {
    try {
      const Checkpoint checkpoint(path);
      out.push_back({path, checkpoint.step(), checkpoint.score()});
    } catch (const Error& error) {
      log_warning("left out: " + std::string(error.what()));
    }
  }
  std::sort(out.begin(), out.end(), [](const Found& a, const Found& b) { return a.step < b.step; });
  return out;
}

bool holds_files(const std::filesystem::path& folder) { return !candidates(folder).empty(); }

}  // namespace mara::checkpoint
