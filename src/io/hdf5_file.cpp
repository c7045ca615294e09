#include "io/hdf5_file.h"

#include <hdf5.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include "io/atomic_file.h"
#include "io/file.h"

namespace mara::io {
namespace {

constexpr size_t kLargestText = 60000;  // HDF5 keeps attributes up to 64 KB beside their object
constexpr int64_t kMetadataRoom = 1 << 20;
constexpr const char* kDtypeAttribute = "dtype";
constexpr const char* kBf16 = "bfloat16";

constexpr ElementType kTypes[] = {ElementType::u8,   ElementType::u16, ElementType::u32,
                                  ElementType::u64,  ElementType::i32, ElementType::i64,
                                  ElementType::bf16, ElementType::f32, ElementType::f64};

/// The serial library has no locks of its own. Held around every call into it; failures come as return values, not
/// as print-outs.
class Library {
 public:
  Library() : lock_(mutex_) { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

  /// The innermost reason of the last failed call; of a failed system call, what the system says.
  static std::string message() {
    std::string text;
    const auto keep = [](unsigned depth, const H5E_error2_t* error, void* out) -> herr_t {
      if (depth == 0 && error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
      return 0;
    };
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep, &text);
    constexpr std::string_view kSystem = "error message = '";
    if (const size_t at = text.find(kSystem); at != std::string::npos) {
      text.erase(0, at + kSystem.size());
      text.erase(std::min(text.find('\''), text.size()));
    }
    return text.empty() ? "HDF5 gives no reason" : text;
  }

 private:
  static inline std::mutex mutex_;
  std::lock_guard<std::mutex> lock_;
};

/// An identifier of the library with the function that gives it back.
class Handle {
 public:
  Handle() = default;
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() { close(); }
  bool close() {
    const hid_t id = std::exchange(id_, H5I_INVALID_HID);
    return id < 0 || close_(id) >= 0;
  }
  bool valid() const { return id_ >= 0; }
  operator hid_t() const { return id_; }

 private:
  hid_t id_ = H5I_INVALID_HID;
  herr_t (*close_)(hid_t) = nullptr;
};

hid_t file_type(ElementType type) {
  switch (type) {
    case ElementType::u8:
      return H5T_STD_U8LE;
    case ElementType::u16:
      return H5T_STD_U16LE;
    case ElementType::bf16:
      return H5T_STD_U16LE;
    case ElementType::u32:
      return H5T_STD_U32LE;
    case ElementType::u64:
      return H5T_STD_U64LE;
    case ElementType::i32:
      return H5T_STD_I32LE;
    case ElementType::i64:
      return H5T_STD_I64LE;
    case ElementType::f32:
      return H5T_IEEE_F32LE;
    case ElementType::f64:
      return H5T_IEEE_F64LE;
  }
  return H5I_INVALID_HID;
}

/// Same for reader and writer: files are not locked (folders of other machines may not support it), and closing a
/// file closes all that was opened in it.
Handle access_properties() {
  Handle properties(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fclose_degree(properties, H5F_CLOSE_STRONG);
  H5Pset_file_locking(properties, false, true);
  return properties;
}

Handle simple_space(const Shape& shape) {
  if (shape.rank == 0) return {H5Screate(H5S_SCALAR), H5Sclose};
  hsize_t dims[kMaxRank];
  std::copy_n(shape.dim.begin(), shape.rank, dims);
  return {H5Screate_simple(shape.rank, dims, nullptr), H5Sclose};
}

}  // namespace

std::string to_string(ElementType type) {
  switch (type) {
    case ElementType::u8:
      return "u8";
    case ElementType::u16:
      return "u16";
    case ElementType::u32:
      return "u32";
    case ElementType::u64:
      return "u64";
    case ElementType::i32:
      return "i32";
    case ElementType::i64:
      return "i64";
    case ElementType::f32:
      return "f32";
    case ElementType::bf16:
      return "bf16";
    case ElementType::f64:
      return "f64";
  }
  return "unknown type";
}

int64_t size_of(ElementType type) {
  switch (type) {
    case ElementType::u8:
      return 1;
    case ElementType::u16:
    case ElementType::bf16:
      return 2;
    case ElementType::u32:
    case ElementType::i32:
    case ElementType::f32:
      return 4;
    default:
      return 8;
  }
}

ElementType element_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::bf16:
      return ElementType::bf16;
    case Dtype::f64:
      return ElementType::f64;
    case Dtype::i32:
      return ElementType::i32;
    case Dtype::f32:
      break;
  }
  return ElementType::f32;
}

struct Hdf5Writer::Impl {
  std::filesystem::path path;
  Handle file;
  std::optional<File> data;

  ~Impl() {
    const Library library;
    file.close();
  }
  void require(bool holds, const std::string& what) const {
    if (!holds) throw Failure(final_name(path).string() + ": " + what + " cannot be written: " + Library::message());
  }
  void put(const std::string& object, const std::string& name, hid_t type, const void* value) const {
    const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const Handle attribute(
        H5Acreate_by_name(file, object.c_str(), name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
        H5Aclose);
    require(attribute.valid() && H5Awrite(attribute, type, value) >= 0, "attribute " + name);
  }
  void put_text(const std::string& object, const std::string& name, std::string_view text) const {
    MARA_CHECK(text.size() <= kLargestText, final_name(path).string(), ": attribute ", name, ": at most ", kLargestText,
               " bytes fit, got ", text.size());
    const std::string value(text);
    const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(type, std::max<size_t>(1, value.size()));  // with its terminating zero where the text is empty
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    put(object, name, type, value.c_str());
  }
};

Hdf5Writer::Hdf5Writer(const std::filesystem::path& path, int64_t data_bytes) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  // Before and after: the library, which empties the file, leaks memory when the disk is too full for its first bytes.
  const int64_t room = kGuardBytes + data_bytes + kMetadataRoom;
  impl_->data.emplace(File::create(path));
  impl_->data->reserve(room);
  {
    const Library library;
    const Handle access = access_properties();
    const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
    H5Pset_userblock(creation, kGuardBytes);
    H5Pset_obj_track_times(creation, false);
    impl_->file = Handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access), H5Fclose);
    impl_->require(impl_->file.valid(), "the file");
  }
  impl_->data->reserve(room);
}

Hdf5Writer::~Hdf5Writer() = default;

Dataset Hdf5Writer::declare(const std::string& name, ElementType type, const Shape& shape) {
  MARA_ASSERT(!name.empty() && name.find('/') == std::string::npos);
  const Library library;
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_layout(creation, H5D_CONTIGUOUS);
  H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
  H5Pset_obj_track_times(creation, false);
  const Handle space = simple_space(shape);
  const Handle made(H5Dcreate2(impl_->file, name.c_str(), file_type(type), space, H5P_DEFAULT, creation, H5P_DEFAULT),
                    H5Dclose);
  impl_->require(made.valid(), "dataset " + name);
  if (type == ElementType::bf16) impl_->put_text(name, kDtypeAttribute, kBf16);
  Dataset out{name, type, shape, {}};
  if (shape.numel() == 0) return out;
  const haddr_t offset = H5Dget_offset(made);
  impl_->require(offset != HADDR_UNDEF, "dataset " + name);
  out.bytes.begin = static_cast<int64_t>(offset);
  out.bytes.end = out.bytes.begin + shape.numel() * size_of(type);
  return out;
}

void Hdf5Writer::write(const Dataset& dataset, int64_t first, const void* elements, int64_t bytes) {
  const int64_t begin = dataset.bytes.begin + first * size_of(dataset.type);
  MARA_ASSERT(first >= 0 && begin + bytes <= dataset.bytes.end);
  impl_->data->write(elements, bytes, begin);
}

Dataset Hdf5Writer::add(const std::string& name, ElementType type, const Shape& shape, const void* elements) {
  const Dataset dataset = declare(name, type, shape);
  write(dataset, 0, elements, dataset.bytes.end - dataset.bytes.begin);
  return dataset;
}

void Hdf5Writer::attribute(const std::string& name, std::string_view text) {
  const Library library;
  impl_->put_text(".", name, text);
}

void Hdf5Writer::attribute(const std::string& name, int64_t value) {
  const Library library;
  impl_->put(".", name, H5T_STD_I64LE, &value);
}

void Hdf5Writer::attribute(const Dataset& dataset, const std::string& name, std::string_view text) {
  const Library library;
  impl_->put_text(dataset.name, name, text);
}

void Hdf5Writer::finish(FileKind kind, const std::vector<Dataset>& unguarded) {
  haddr_t length = 0;
  {
    const Library library;
    impl_->require(
        H5Fflush(impl_->file, H5F_SCOPE_LOCAL) >= 0 && H5Fget_eoa(impl_->file, &length) >= 0 && impl_->file.close(),
        "the file");
  }
  impl_->data->truncate(static_cast<int64_t>(length));  // gives back room that was reserved and not needed
  std::vector<ByteRange> excluded;
  for (const Dataset& dataset : unguarded) excluded.push_back(dataset.bytes);
  std::sort(excluded.begin(), excluded.end(), [](ByteRange a, ByteRange b) { return a.begin < b.begin; });
  seal(impl_->path, kind, excluded);
}

struct Hdf5Reader::Impl {
  std::filesystem::path path;
  Guard guard;
  Handle file;
  std::vector<Dataset> datasets;
  std::optional<File> data;

  ~Impl() {
    const Library library;
    file.close();
  }
  void require(bool holds, const std::string& place, const char* what) const {
    MARA_CHECK(holds, path.string(), ": ", place, ": ", what, "; only files as Mara writes them are read");
  }
  std::vector<std::string> names() const;
  Dataset check(const std::string& name) const;
  void check_apart() const;

  Handle open_attribute(const std::string& object, const std::string& name) const {
    const std::string place = (object == "." ? "" : "dataset " + object + ": ") + "attribute " + name;
    MARA_CHECK(H5Aexists_by_name(file, object.c_str(), name.c_str(), H5P_DEFAULT) > 0, path.string(), ": ", place,
               " is missing; only files as Mara writes them are read");
    Handle attribute(H5Aopen_by_name(file, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    const Handle space(attribute.valid() ? H5Aget_space(attribute) : H5I_INVALID_HID, H5Sclose);
    require(space.valid() && H5Sget_simple_extent_npoints(space) == 1, place, "one value is required");
    return attribute;
  }
  std::string text(const std::string& object, const std::string& name) const;
};

// Names of the root group's members, which must all be there themselves.
std::vector<std::string> Hdf5Reader::Impl::names() const {
  struct Found {
    std::vector<std::string> names;
    std::string link;
  } found;
  const auto visit = [](hid_t, const char* name, const H5L_info_t* link, void* out) -> herr_t {
    auto& into = *static_cast<Found*>(out);
    into.names.emplace_back(name);
    if (link->type != H5L_TYPE_HARD) into.link = name;
    return 0;
  };
  const herr_t walked = H5Literate(file, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, visit, &found);
  MARA_CHECK(walked >= 0, path.string(), ": its contents cannot be listed: ", Library::message());
  require(found.link.empty(), found.link, "a link");
  std::sort(found.names.begin(), found.names.end());
  return found.names;
}

Dataset Hdf5Reader::Impl::check(const std::string& name) const {
  const std::string place = "dataset " + name;
  const Handle dataset(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose);
  require(dataset.valid(), name, "not a readable dataset");
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  const Handle type(H5Dget_type(dataset), H5Tclose);
  const Handle space(H5Dget_space(dataset), H5Sclose);
  require(creation.valid() && type.valid() && space.valid(), place, "not readable");
  require(H5Pget_layout(creation) == H5D_CONTIGUOUS, place, "its layout is not contiguous");
  require(H5Pget_nfilters(creation) == 0, place, "it is compressed or filtered");
  require(H5Pget_external_count(creation) == 0, place, "its data is in another file");

  Dataset out{.name = name};
  const auto* known = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](ElementType candidate) { return H5Tequal(type, file_type(candidate)) > 0; });
  require(known != std::end(kTypes), place, "its element type is none of u8, u16, u32, u64, i32, i64, f32, f64");
  out.type = *known;
  if (out.type == ElementType::u16 && H5Aexists_by_name(file, name.c_str(), kDtypeAttribute, H5P_DEFAULT) > 0) {
    require(text(name, kDtypeAttribute) == kBf16, place, "its attribute dtype is not bfloat16");
    out.type = ElementType::bf16;
  }
  const H5S_class_t space_class = H5Sget_simple_extent_type(space);
  require(space_class == H5S_SIMPLE || space_class == H5S_SCALAR, place, "it has no shape");
  out.shape.rank = H5Sget_simple_extent_ndims(space);
  require(out.shape.rank >= 0 && out.shape.rank <= kMaxRank, place, "it has more than 5 axes");
  hsize_t dims[kMaxRank] = {};
  H5Sget_simple_extent_dims(space, dims, nullptr);
  int64_t bytes = size_of(out.type);
  for (int i = 0; i < out.shape.rank; ++i) {
    out.shape.dim[i] = static_cast<int64_t>(dims[i]);
    const bool fits = dims[i] <= static_cast<hsize_t>(guard.length) &&
                      !__builtin_mul_overflow(bytes, out.shape.dim[i], &bytes) && bytes <= guard.length;
    require(fits, place, "it is larger than the file");
  }
  if (bytes == 0) return out;
  const haddr_t offset = H5Dget_offset(dataset);
  require(offset != HADDR_UNDEF && offset >= static_cast<haddr_t>(kGuardBytes) &&
              offset <= static_cast<haddr_t>(guard.length - bytes),
          place, "its data is not in the file");
  out.bytes = {static_cast<int64_t>(offset), static_cast<int64_t>(offset) + bytes};
  return out;
}

void Hdf5Reader::Impl::check_apart() const {
  std::vector<const Dataset*> order;
  for (const Dataset& dataset : datasets) order.push_back(&dataset);
  std::sort(order.begin(), order.end(),
            [](const Dataset* a, const Dataset* b) { return a->bytes.begin < b->bytes.begin; });
  for (size_t i = 1; i < order.size(); ++i) {
    require(order[i]->bytes.begin >= order[i - 1]->bytes.end, "dataset " + order[i]->name,
            ("it overlaps with " + order[i - 1]->name).c_str());
  }
}

std::string Hdf5Reader::Impl::text(const std::string& object, const std::string& name) const {
  const Handle attribute = open_attribute(object, name);
  const Handle type(H5Aget_type(attribute), H5Tclose);
  const std::string place = "attribute " + name;
  require(type.valid() && H5Tget_class(type) == H5T_STRING, place, "text is required");
  if (H5Tis_variable_str(type) > 0) {  // h5py's texts are
    char* value = nullptr;
    require(H5Aread(attribute, type, &value) >= 0 && value != nullptr, place, "not readable");
    std::string out = value;
    H5free_memory(value);
    return out;
  }
  const size_t size = H5Tget_size(type);
  require(size <= static_cast<size_t>(guard.length), place, "it is larger than the file");
  std::string out(size, '\0');
  require(H5Aread(attribute, type, out.data()) >= 0, place, "not readable");
  out.resize(std::min(out.find('\0'), out.size()));
  return out;
}

Hdf5Reader::Hdf5Reader(const std::filesystem::path& path, FileKind kind) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  impl_->guard = verify(path, kind);
  impl_->data.emplace(File::open_to_read(path));
  const Library library;
  const Handle access = access_properties();
  impl_->file = Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose);
  MARA_CHECK(impl_->file.valid(), path.string(), ": not a readable HDF5 file: ", Library::message());
  for (const std::string& name : impl_->names()) impl_->datasets.push_back(impl_->check(name));
  impl_->check_apart();
}

Hdf5Reader::~Hdf5Reader() = default;
Hdf5Reader::Hdf5Reader(Hdf5Reader&&) noexcept = default;

const std::filesystem::path& Hdf5Reader::path() const { return impl_->path; }
const Guard& Hdf5Reader::guard() const { return impl_->guard; }
const std::vector<Dataset>& Hdf5Reader::datasets() const { return impl_->datasets; }

const Dataset* Hdf5Reader::find(std::string_view name) const {
  const auto at =
      std::lower_bound(impl_->datasets.begin(), impl_->datasets.end(), name,
                       [](const Dataset& dataset, std::string_view wanted) { return dataset.name < wanted; });
  return at != impl_->datasets.end() && at->name == name ? &*at : nullptr;
}

const Dataset& Hdf5Reader::require(std::string_view name, ElementType type, int rank) const {
  const Dataset* dataset = find(name);
  MARA_CHECK(dataset != nullptr, impl_->path.string(), ": dataset ", name, " is missing");
  MARA_CHECK(dataset->type == type && dataset->shape.rank == rank, impl_->path.string(), ": dataset ", name, ": ", type,
             " with ", rank, " axes is required, got ", dataset->type, " of shape ", dataset->shape);
  return *dataset;
}

void Hdf5Reader::read(const Dataset& dataset, int64_t first, std::span<std::byte> out) const {
  const int64_t begin = dataset.bytes.begin + first * size_of(dataset.type);
  MARA_ASSERT(first >= 0 && begin + static_cast<int64_t>(out.size()) <= dataset.bytes.end);
  impl_->data->read(out.data(), static_cast<int64_t>(out.size()), begin);
}

bool Hdf5Reader::has_attribute(const std::string& name) const {
  const Library library;
  return H5Aexists(impl_->file, name.c_str()) > 0;
}

std::string Hdf5Reader::text(const std::string& name) const {
  const Library library;
  return impl_->text(".", name);
}

std::string Hdf5Reader::text(const Dataset& dataset, const std::string& name) const {
  const Library library;
  return impl_->text(dataset.name, name);
}

int64_t Hdf5Reader::integer(const std::string& name) const {
  const Library library;
  const Handle attribute = impl_->open_attribute(".", name);
  const Handle type(H5Aget_type(attribute), H5Tclose);
  int64_t value = 0;
  impl_->require(type.valid() && H5Tget_class(type) == H5T_INTEGER && H5Aread(attribute, H5T_NATIVE_INT64, &value) >= 0,
                 "attribute " + name, "an integer is required");
  return value;
}

}  // namespace mara::io
