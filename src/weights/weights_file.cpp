#include "weights/weights_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/runtime.h"
#include "io/hdf5_file.h"
#include "io/safetensors.h"

namespace mara::weights {
namespace {

constexpr const char *kFormat = "format", *kFormatName = "mara-weights";
constexpr const char* kVersion = "format_version";
constexpr int64_t kThisVersion = 1;

constexpr std::string_view kHdf5 = ".h5", kSafetensors = ".safetensors";

bool is_hdf5(const std::filesystem::path& path) { return path.extension() == kHdf5; }

class FromSafetensors final : public WeightsReader {
 public:
  explicit FromSafetensors(const std::filesystem::path& path) : file_(path) {
    for (const io::SafeTensor& tensor : file_.tensors()) tensors_.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  std::vector<std::byte> read(size_t index) const override {
    const io::SafeTensor& tensor = file_.tensors()[index];
    std::vector<std::byte> out(static_cast<size_t>(tensor.bytes.end - tensor.bytes.begin));
    file_.read(tensor, 0, out);
    return out;
  }

 private:
  io::SafetensorsReader file_;
};

std::string_view safetensors_dtype(io::ElementType type) {
  switch (type) {
    case io::ElementType::u8:
      return "U8";
    case io::ElementType::u16:
      return "U16";
    case io::ElementType::u32:
      return "U32";
    case io::ElementType::u64:
      return "U64";
    case io::ElementType::i32:
      return "I32";
    case io::ElementType::i64:
      return "I64";
    case io::ElementType::bf16:
      return "BF16";
    case io::ElementType::f64:
      return "F64";
    case io::ElementType::f32:
      break;
  }
  return "F32";
}

class FromHdf5 final : public WeightsReader {
 public:
  explicit FromHdf5(const std::filesystem::path& path) : file_(path, io::FileKind::weights) {
    MARA_CHECK(file_.text(kFormat) == kFormatName && file_.integer(kVersion) == kThisVersion, path.string(),
               ": attributes ", kFormat, " and ", kVersion, ": ", kFormatName, " and ", kThisVersion,
               " are required, got ", file_.text(kFormat), " and ", file_.integer(kVersion));
    for (const io::Dataset& dataset : file_.datasets()) {
      tensors_.push_back({dataset.name, safetensors_dtype(dataset.type), dataset.shape});
    }
  }
  std::vector<std::byte> read(size_t index) const override {
    const io::Dataset& dataset = file_.datasets()[index];
    std::vector<std::byte> out(static_cast<size_t>(dataset.bytes.end - dataset.bytes.begin));
    file_.read(dataset, 0, out);
    return out;
  }

 private:
  io::Hdf5Reader file_;
};

float from_half(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  float magnitude = 0;
  if (exponent == 31) {
    magnitude = fraction == 0 ? HUGE_VALF : std::nanf("");
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(fraction), -24);
  } else {
    magnitude = std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  }
  return half >> 15 != 0 ? -magnitude : magnitude;
}

template <class Stored, class Widen>
int64_t convert_as(std::span<const std::byte> bytes, const Tensor& target, const Widen& widen) {
  return dispatch_float(target.dtype(), [&]<class T>() -> int64_t {
    T* out = target.view().ptr<T>();
    int64_t wrong = -1;
    for (int64_t i = 0; i < target.numel(); ++i) {
      Stored stored;
      std::memcpy(&stored, bytes.data() + static_cast<size_t>(i) * sizeof stored, sizeof stored);
      const auto value = static_cast<Compute<T>>(widen(stored));
      if (!std::isfinite(value) && wrong < 0) wrong = i;
      out[i] = static_cast<T>(value);
    }
    return wrong;
  });
}

template <class From, class To>
void narrow(const void* values, std::span<std::byte> out) {
  for (size_t i = 0; i < out.size() / sizeof(To); ++i) {
    const To value = static_cast<To>(static_cast<Compute<To>>(static_cast<const From*>(values)[i]));
    std::memcpy(out.data() + i * sizeof value, &value, sizeof value);
  }
}

std::vector<std::byte> converted(const WrittenTensor& tensor) {
  std::vector<std::byte> out(static_cast<size_t>(tensor.shape.numel() * size_of(tensor.dtype)));
  dispatch_float(tensor.source, [&]<class From>() {
    dispatch_float(tensor.dtype, [&]<class To>() { narrow<From, To>(tensor.values, out); });
  });
  return out;
}

void write_safetensors(const std::filesystem::path& path, const std::vector<WrittenTensor>& tensors,
                       const Metadata& metadata) {
  std::vector<io::SafetensorsWriter::Declared> declared;
  for (const WrittenTensor& tensor : tensors) {
    declared.push_back({tensor.name, io::safetensors_dtype(tensor.dtype), tensor.shape});
  }
  io::SafeMetadata texts = metadata;
  texts[kFormat] = "pt";  // readers made for PyTorch's files refuse others
  io::SafetensorsWriter file(path, declared, texts);
  for (const WrittenTensor& tensor : tensors) file.write(tensor.name, converted(tensor));
}

void write_hdf5(const std::filesystem::path& path, const std::vector<WrittenTensor>& tensors,
                const Metadata& metadata) {
  int64_t bytes = 0;
  for (const WrittenTensor& tensor : tensors) {
    MARA_CHECK(tensor.name.find('/') == std::string::npos, io::final_name(path).string(), ": ", tensor.name,
               ": names in HDF5 files have no /; export to .safetensors");
    bytes += tensor.shape.numel() * size_of(tensor.dtype);
  }
  io::Hdf5Writer file(path, bytes);
  file.attribute(kFormat, kFormatName);
  file.attribute(kVersion, kThisVersion);
  for (const auto& [name, text] : metadata) file.attribute(name, text);
  for (const WrittenTensor& tensor : tensors) {
    file.add(tensor.name, io::element_type(tensor.dtype), tensor.shape, converted(tensor).data());
  }
  file.finish(io::FileKind::weights);
}

void check_ending(const std::filesystem::path& path, const Target& target) {
  const bool fits = is_hdf5(path) ? target.hdf5.has_value() : target.safetensors && path.extension() == kSafetensors;
  const std::string_view endings = !target.hdf5 ? kSafetensors : target.safetensors ? ".safetensors or .h5" : kHdf5;
  MARA_CHECK(fits, "'", path.string(), "': a name that ends in ", endings, " is required");
}

}  // namespace

io::Existing check_target(const std::filesystem::path& path, const Target& target, bool force) {
  check_ending(path, target);
  const bool exists = std::filesystem::exists(std::filesystem::symlink_status(path));
  MARA_CHECK(force || !exists, path.string(),
             ": exists and is not overwritten; choose another name, or replace it with --force");
  const io::Existing existing = force ? io::Existing::replace : io::Existing::refuse;
  io::check_target(path, existing);
  const std::optional<io::FileKind> kind = io::kind_of(path), required = is_hdf5(path) ? target.hdf5 : std::nullopt;
  MARA_CHECK(!exists || kind == required, path.string(), ": --force replaces only ",
             required ? "a " + to_string(*required) : std::string("a safetensors file"), ", this is ",
             kind ? "a " + to_string(*kind) : std::string("none"), "; choose another name");
  return existing;
}

std::unique_ptr<WeightsReader> open_weights(const std::filesystem::path& path) {
  check_ending(path, {});
  MARA_CHECK(io::kind_of(path) != io::FileKind::checkpoint, path.string(),
             ": a weights file is required, this is a checkpoint, which eval, generate, export, logits and train "
             "--resume take as it is");
  if (is_hdf5(path)) return std::make_unique<FromHdf5>(path);
  return std::make_unique<FromSafetensors>(path);
}

void write_weights(const std::filesystem::path& path, const std::vector<WrittenTensor>& tensors,
                   const Metadata& metadata, io::Existing existing) {
  io::AtomicFile file(path, existing);
  (is_hdf5(path) ? write_hdf5 : write_safetensors)(file.temporary(), tensors, metadata);
  file.commit();
}

bool is_floating(std::string_view dtype) {
  return dtype == "F32" || dtype == "BF16" || dtype == "F16" || dtype == "F64";
}

int64_t convert(std::span<const std::byte> bytes, std::string_view dtype, const Tensor& target) {
  if (dtype == "F64") return convert_as<double>(bytes, target, [](double value) { return value; });
  if (dtype == "BF16") return convert_as<bf16>(bytes, target, [](bf16 value) { return static_cast<float>(value); });
  if (dtype == "F16") return convert_as<uint16_t>(bytes, target, from_half);
  MARA_ASSERT(dtype == "F32");
  return convert_as<float>(bytes, target, [](float value) { return value; });
}

}  // namespace mara::weights
