#pragma once
// A file of weights in either container, by its name's ending: W.safetensors or W.h5.

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "io/atomic_file.h"
#include "io/guard.h"

namespace mara::weights {

struct StoredTensor {
  std::string name;
  std::string_view dtype;  // as safetensors call it: "F32", "BF16", ...
  Shape shape;
};

/// Where a tensor's values come from.
class WeightsReader {
 public:
  virtual ~WeightsReader() = default;
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  /// The tensor's bytes as they are stored.
  virtual std::vector<std::byte> read(size_t index) const = 0;

 protected:
  std::vector<StoredTensor> tensors_;  // by name
};

/// Throws Error for a file that is neither, or damaged.
std::unique_ptr<WeightsReader> open_weights(const std::filesystem::path& path);

/// Texts about the weights: "recipe" (YAML), "step", "tied" (a JSON list of pairs [alias, name of the tensor it is]).
using Metadata = std::map<std::string, std::string>;

struct WrittenTensor {
  std::string name;
  Dtype dtype = Dtype::f32;
  Shape shape;
  const void* values = nullptr;  // f32 or f64 as `source` says, converted to `dtype`
  Dtype source = Dtype::f32;
};

/// Makes the file whole or not at all. Throws Failure, and Error for what AtomicFile refuses.
void write_weights(const std::filesystem::path& path, const std::vector<WrittenTensor>& tensors,
                   const Metadata& metadata, io::Existing existing);

/// What a command is to make, looked at before the work that comes first: a safetensors file, or an HDF5 file of a kind
/// of ours. Throws Error unless the name ends as these do, the folder is there, and the file is not, or with `force` is
/// of the same kind: neither a checkpoint nor a shard is lost to a mistyped name. Returns what AtomicFile is to do.
struct Target {
  bool safetensors = true;
  std::optional<io::FileKind> hdf5 = io::FileKind::weights;
};
io::Existing check_target(const std::filesystem::path& path, const Target& target, bool force);

/// Whether convert() takes it: F32, BF16, F16 and F64.
bool is_floating(std::string_view dtype);

/// Stored bytes -> values of an f32 or f64 tensor in host memory. Returns the index of the first value that is not
/// finite there, or -1.
int64_t convert(std::span<const std::byte> bytes, std::string_view dtype, const Tensor& target);

}  // namespace mara::weights
