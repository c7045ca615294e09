#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/format.h"
#include "io/atomic_file.h"

namespace mara::io {
namespace {

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kAlignment = 64;
constexpr size_t kMostTexts = 10'000;
constexpr size_t kLongestName = 1000;
constexpr std::string_view kMetadata = "__metadata__";

struct Type {
  std::string_view name;
  int bits;
};
/// In the format's own order, by alignment.
constexpr Type kTypes[] = {{"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
                           {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
                           {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
                           {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
                           {"I64", 64},        {"U64", 64}};

const Type* find_type(std::string_view name) {
  const auto at =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const Type& type) { return type.name == name; });
  return at == std::end(kTypes) ? nullptr : at;
}

/// What a message shows of a text that may be anything.
std::string shown(std::string_view text) {
  constexpr size_t kMost = 80;
  const std::string_view begin = text.substr(0, kMost);
  const size_t cut = text.size() > kMost ? unfinished_utf8(begin) : 0;
  return "'" + printable(begin.substr(0, begin.size() - cut)) + (text.size() > kMost ? "...'" : "'");
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

/// Of what is read and of what is written alike.
void check_name(const std::string& name, const std::string& file) {
  MARA_CHECK(name.size() <= kLongestName && printable(name) == name, file, ": header, ", shown(name),
             ": names of at most ", kLongestName, " bytes, in UTF-8 without control characters, are required");
}

/// Bytes of a tensor; none if they are too many for a number, or not whole bytes.
std::optional<int64_t> byte_count(const Shape& shape, int bits) {
  const bool empty = std::any_of(shape.dim.begin(), shape.dim.begin() + shape.rank, [](int64_t n) { return n == 0; });
  if (empty) return 0;
  int64_t count = bits;
  for (int i = 0; i < shape.rank; ++i) {
    if (__builtin_mul_overflow(count, shape[i], &count)) return std::nullopt;
  }
  if (count % 8 != 0) return std::nullopt;
  return count / 8;
}

/// Listens to the JSON parser and accepts what a header may hold: {"name": {"dtype": "F32", "shape": [2, 3],
/// "data_offsets": [0, 24]}, ..., "__metadata__": {"text": "text", ...}}. Nothing is nested deeper.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  SafetensorsHeader header;

  bool start_object(size_t) override {
    require(place_ == Place::start || place_ == Place::entry, "an object stands where none may");
    if (place_ == Place::start) {
      place_ = Place::top;
    } else if (name_ == kMetadata) {
      require(!has_metadata_, "the key stands there twice");
      has_metadata_ = true;
      place_ = Place::metadata;
    } else {
      header.tensors.emplace_back().name = name_;
      has_dtype_ = has_shape_ = has_offsets_ = false;
      place_ = Place::tensor;
    }
    return true;
  }
  bool key(std::string& text) override {
    switch (place_) {
      case Place::top:
        name_ = text;
        place_ = Place::entry;
        break;
      case Place::metadata:
        metadata_key_ = text;
        require(header.metadata.size() < kMostTexts, detail::join({"at most ", kMostTexts, " texts are read"}));
        require(header.metadata.count(text) == 0, "the key " + shown(text) + " stands there twice");
        place_ = Place::text;
        break;
      default:
        if (text == "dtype") {
          begin_field(has_dtype_, text, Place::dtype);
        } else if (text == "shape") {
          begin_field(has_shape_, text, Place::shape);
        } else {
          require(text == "data_offsets", "the keys dtype, shape and data_offsets are known, not " + shown(text));
          begin_field(has_offsets_, text, Place::offsets);
        }
    }
    return true;
  }
  bool string(std::string& text) override {
    if (place_ == Place::text) {
      header.metadata[metadata_key_] = text;
      place_ = Place::metadata;
      return true;
    }
    require(place_ == Place::dtype, "the text " + shown(text) + " stands where none may");
    const Type* type = find_type(text);
    require(type != nullptr, "dtype " + shown(text) + " is unknown");
    tensor().dtype = type->name;
    place_ = Place::tensor;
    return true;
  }
  bool start_array(size_t) override {
    require(!in_list_ && (place_ == Place::shape || place_ == Place::offsets), "a list stands where none may");
    in_list_ = true;
    count_ = 0;
    return true;
  }
  bool number_unsigned(uint64_t number) override {
    require(in_list_, "a number stands where none may");
    require(number <= static_cast<uint64_t>(INT64_MAX), detail::join({"the number ", number, " is too large"}));
    if (place_ == Place::shape) {
      require(count_ < kMaxRank, detail::join({"shape: tensors of at most ", kMaxRank, " axes are read"}));
      tensor().shape[tensor().shape.rank++] = static_cast<int64_t>(number);
    } else {
      require(count_ < 2, "data_offsets: two numbers are required, there are more");
      (count_ == 0 ? tensor().bytes.begin : tensor().bytes.end) = static_cast<int64_t>(number);
    }
    ++count_;
    return true;
  }
  bool end_array() override {
    require(place_ == Place::shape || count_ == 2, "data_offsets: two numbers are required, there are fewer");
    in_list_ = false;
    place_ = Place::tensor;
    return true;
  }
  bool end_object() override {
    if (place_ == Place::tensor) {
      require(has_dtype_ && has_shape_ && has_offsets_, "dtype, shape and data_offsets are required, one is missing");
    }
    place_ = place_ == Place::top ? Place::end : Place::top;
    return true;
  }
  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("true or false"); }
  bool number_integer(int64_t) override { return other("a negative number"); }
  bool number_float(double, const std::string&) override { return other("a number that is not whole, or too large,"); }
  bool binary(nlohmann::json::binary_t&) override { return other("a binary"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    refuse_byte(std::max<size_t>(position, 1) - 1);
  }
  [[noreturn]] void refuse_byte(size_t at) const {
    throw Error(
        detail::join({file_, ": header, byte ", at, ": UTF-8 JSON is required, this is none; use another copy"}));
  }

 private:
  /// What comes next.
  enum class Place { start, top, entry, metadata, text, tensor, dtype, shape, offsets, end };

  SafeTensor& tensor() { return header.tensors.back(); }
  void begin_field(bool& has, const std::string& key, Place place) {
    require(!has, "the key " + key + " stands there twice");
    has = true;
    place_ = place;
  }
  void require(bool holds, const std::string& what) const {
    if (holds) return;
    const bool inside = place_ != Place::start && place_ != Place::top;
    throw Error(detail::join({file_, ": header", inside ? ", " + shown(name_) : "", ": ", what,
                              "; this is not safetensors, or damaged: use another copy"}));
  }
  bool other(const std::string& what) const {
    require(false, what + " stands where none may");
    return false;
  }

  const std::string& file_;
  Place place_ = Place::start;
  std::string name_, metadata_key_;
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false, in_list_ = false;
  int count_ = 0;  // in the list
};

void check_tensor(const SafeTensor& tensor, const std::string& file) {
  check_name(tensor.name, file);
  const std::optional<int64_t> bytes = byte_count(tensor.shape, find_type(tensor.dtype)->bits);
  const ByteRange range = tensor.bytes;
  MARA_CHECK(bytes && range.begin <= range.end && range.end - range.begin == *bytes, file, ": header, ",
             shown(tensor.name), ": ", tensor.dtype, " of shape ", tensor.shape, " takes ",
             bytes ? std::to_string(*bytes) + " bytes" : "too many bytes, or part of one", ", data_offsets are ",
             range.begin, " and ", range.end, "; use another copy");
}

/// The tensors, whichever way they lie, cover [0, data_bytes) once.
void check_tiling(const std::vector<SafeTensor>& tensors, int64_t data_bytes, const std::string& file) {
  std::vector<const SafeTensor*> by_place;
  for (const SafeTensor& tensor : tensors) by_place.push_back(&tensor);
  std::sort(by_place.begin(), by_place.end(), [](const SafeTensor* a, const SafeTensor* b) {
    return std::pair(a->bytes.begin, a->bytes.end) < std::pair(b->bytes.begin, b->bytes.end);
  });
  int64_t at = 0;
  for (const SafeTensor* tensor : by_place) {
    MARA_CHECK(tensor->bytes.begin == at, file, ": header, ", shown(tensor->name), ": begins at byte ",
               tensor->bytes.begin, " of the data, the tensor before it ends at ", at,
               "; tensors must follow each other without gap or overlap: use another copy");
    at = tensor->bytes.end;
  }
  MARA_CHECK(at == data_bytes, file, at > data_bytes ? ": cut short: " : ": something was appended: ", at,
             " bytes of data are in the header, ", data_bytes, " are there; use another copy");
}

std::string read_header(const File& file, const std::string& name) {
  const int64_t size = file.size();
  MARA_CHECK(size >= kLengthBytes, name, ": safetensors are required, this has ", size,
             " bytes and no header; use another copy");
  uint64_t length = 0;
  file.read(&length, kLengthBytes, 0);
  MARA_CHECK(length <= static_cast<uint64_t>(size - kLengthBytes), name,
             ": safetensors are required, this is none or cut short: its first 8 bytes say that a header of ", length,
             " bytes follows, ", size - kLengthBytes, " are there");
  MARA_CHECK(length <= static_cast<uint64_t>(kLargestHeader), name, ": a header of at most ", kLargestHeader,
             " bytes is read, this one has ", length, "; split the file into several, or drop its metadata");
  std::string header(length, '\0');
  file.read(header.data(), static_cast<int64_t>(length), kLengthBytes);
  return header;
}

}  // namespace

std::string_view safetensors_dtype(Dtype dtype) {
  switch (dtype) {
    case Dtype::bf16:
      return "BF16";
    case Dtype::f64:
      return "F64";
    case Dtype::i32:
      return "I32";
    case Dtype::f32:
      break;
  }
  return "F32";
}

SafetensorsHeader parse_safetensors(std::string_view header, int64_t data_bytes, const std::string& file) {
  MARA_CHECK(!header.empty() && header[0] == '{', file, ": header: must begin with {; this is not safetensors");
  HeaderReader reader(file);
  // The parser takes a zero for the end of its input.
  if (const size_t zero = header.find('\0'); zero != std::string_view::npos) reader.refuse_byte(zero);
  nlohmann::json::sax_parse(header.begin(), header.end(), &reader);
  std::vector<SafeTensor>& tensors = reader.header.tensors;
  std::sort(tensors.begin(), tensors.end(), [](const SafeTensor& a, const SafeTensor& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(tensors.begin(), tensors.end(),
                                        [](const SafeTensor& a, const SafeTensor& b) { return a.name == b.name; });
  MARA_CHECK(twice == tensors.end(), file, ": header, ", shown(twice->name),
             ": the key stands there twice; use another copy");
  for (const SafeTensor& tensor : tensors) check_tensor(tensor, file);
  check_tiling(tensors, data_bytes, file);
  return std::move(reader.header);
}

SafetensorsReader::SafetensorsReader(const std::filesystem::path& path) : path_(path), file_(File::open_to_read(path)) {
  const std::string header = read_header(file_, path.string());
  data_begin_ = kLengthBytes + static_cast<int64_t>(header.size());
  header_ = parse_safetensors(header, file_.size() - data_begin_, path.string());
}

const SafeTensor* SafetensorsReader::find(std::string_view name) const {
  const auto at = std::lower_bound(tensors().begin(), tensors().end(), name,
                                   [](const SafeTensor& tensor, std::string_view n) { return tensor.name < n; });
  return at == tensors().end() || at->name != name ? nullptr : &*at;
}

void SafetensorsReader::read(const SafeTensor& tensor, int64_t first, std::span<std::byte> out) const {
  const int64_t begin = tensor.bytes.begin + first, bytes = static_cast<int64_t>(out.size());
  MARA_ASSERT(first >= 0 && begin + bytes <= tensor.bytes.end);
  file_.read(out.data(), bytes, data_begin_ + begin);
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, const std::vector<Declared>& tensors,
                                     const SafeMetadata& metadata)
    : file_(File::create(path)) {
  std::vector<Declared> sorted = tensors;
  std::sort(sorted.begin(), sorted.end(), [](const Declared& a, const Declared& b) {
    return std::pair(find_type(b.dtype), std::string_view(a.name)) <
           std::pair(find_type(a.dtype), std::string_view(b.name));
  });
  // What the reader refuses is not written.
  const std::string target = final_name(path).string();
  for (const Declared& tensor : tensors) check_name(tensor.name, target);
  MARA_CHECK(metadata.size() <= kMostTexts, target, ": at most ", kMostTexts, " texts fit, there are ",
             metadata.size());
  for (const auto& [key, text] : metadata) {
    MARA_CHECK(is_utf8(key) && is_utf8(text), target, ": metadata, ", shown(key), ": UTF-8 is required");
  }
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json[std::string(kMetadata)] = metadata;
  int64_t at = 0;
  for (const Declared& tensor : sorted) {
    const std::optional<int64_t> bytes = byte_count(tensor.shape, find_type(tensor.dtype)->bits);
    MARA_ASSERT(bytes);
    const bool added = places_.try_emplace(tensor.name, ByteRange{at, at + *bytes}).second;
    MARA_CHECK(added && tensor.name != kMetadata, target, ": ", shown(tensor.name), ": names must differ, and not be ",
               kMetadata);
    const std::vector<int64_t> dims(tensor.shape.dim.begin(), tensor.shape.dim.begin() + tensor.shape.rank);
    // push_back keeps a header of n tensors linear: an ordered object looks for a key before it adds one.
    json.get_ref<nlohmann::ordered_json::object_t&>().push_back(
        {tensor.name, {{"dtype", tensor.dtype}, {"shape", dims}, {"data_offsets", {at, at + *bytes}}}});
    at += *bytes;
  }
  std::string header = json.dump();
  const size_t end = (kLengthBytes + header.size() + kAlignment - 1) / kAlignment * kAlignment;
  header.resize(end - kLengthBytes, ' ');
  MARA_CHECK(header.size() <= static_cast<size_t>(kLargestHeader), target, ": names and metadata take ", header.size(),
             " bytes, at most ", kLargestHeader, " fit");
  data_begin_ = static_cast<int64_t>(end);
  file_.reserve(data_begin_ + at);
  const uint64_t length = header.size();
  file_.write(&length, kLengthBytes, 0);
  file_.write(header.data(), static_cast<int64_t>(length), kLengthBytes);
}

void SafetensorsWriter::write(const std::string& name, std::span<const std::byte> data) {
  const ByteRange place = places_.at(name);
  MARA_ASSERT(static_cast<int64_t>(data.size()) == place.end - place.begin);
  file_.write(data.data(), static_cast<int64_t>(data.size()), data_begin_ + place.begin);
}

}  // namespace mara::io
