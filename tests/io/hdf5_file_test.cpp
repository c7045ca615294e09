#include "io/hdf5_file.h"

#include <hdf5.h>

#include <cstring>
#include <functional>
#include <numeric>

#include "core/thrown.h"
#include "io/files.h"
#include "io/mapped_file.h"

namespace mara::io {
namespace {

constexpr ElementType kAll[] = {ElementType::u8,  ElementType::u16,  ElementType::u32,
                                ElementType::u64, ElementType::i32,  ElementType::i64,
                                ElementType::f32, ElementType::bf16, ElementType::f64};

std::vector<char> pattern(int64_t bytes) {
  std::vector<char> out(static_cast<size_t>(bytes));
  std::iota(out.begin(), out.end(), static_cast<char>(bytes));
  return out;
}

class Hdf5Test : public testing::Test {
 protected:
  /// A dataset of every type, of every number of axes, of no elements; attributes.
  void write(const std::filesystem::path& path) {
    Hdf5Writer writer(path, 10000);
    for (const ElementType type : kAll) {
      writer.add(to_string(type), type, {3, 5}, pattern(15 * size_of(type)).data());
    }
    Shape shape;
    for (int rank = 0; rank <= kMaxRank; ++rank) {
      writer.add("rank" + std::to_string(rank), ElementType::f64, shape, pattern(shape.numel() * 8).data());
      if (rank < kMaxRank) shape = shape.append(rank + 2);
    }
    writer.add("nothing", ElementType::f32, {0}, nullptr);
    writer.attribute("title", "a \xc3\xa4 text");
    writer.attribute("empty", "");
    writer.attribute("count", int64_t{-1234567890123});
    writer.attribute(Dataset{.name = "f32"}, "unit", "m");
    writer.finish(FileKind::shard);
  }
  /// A file of whatever `fill` makes with the library, sealed as ours.
  std::string complaint(const std::function<void(hid_t file)>& fill) {
    const std::filesystem::path path = folder_ / "foreign";
    std::filesystem::remove(path);
    const hid_t creation = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_userblock(creation, kGuardBytes);
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, H5P_DEFAULT);
    H5Pclose(creation);
    fill(file);
    H5Fclose(file);
    seal(path, FileKind::shard);
    return message_of<Error>([&] { const Hdf5Reader reader(path, FileKind::shard); });
  }

  TemporaryFolder folder_;
};

hid_t make(hid_t file, const char* name, hid_t type, std::vector<hsize_t> dims, hid_t creation = H5P_DEFAULT) {
  const hid_t space = H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr);
  const hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  H5Sclose(space);
  EXPECT_GE(dataset, 0);
  const std::vector<double> zeros(1000);
  EXPECT_GE(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data()), 0);
  H5Dclose(dataset);
  return dataset;
}

TEST_F(Hdf5Test, ReadsBackWhatItWrote) {
  write(folder_ / "a");
  const Hdf5Reader reader(folder_ / "a", FileKind::shard);
  EXPECT_EQ(reader.datasets().size(), std::size(kAll) + kMaxRank + 2);
  for (const ElementType type : kAll) {
    const Dataset& dataset = reader.require(to_string(type), type, 2);
    EXPECT_EQ(dataset.shape, (Shape{3, 5}));
    std::vector<char> bytes(static_cast<size_t>(15 * size_of(type)));
    reader.read(dataset, 0, std::as_writable_bytes(std::span(bytes)));
    EXPECT_EQ(bytes, pattern(15 * size_of(type))) << dataset.name;
  }
  for (int rank = 0; rank <= kMaxRank; ++rank) {
    const Dataset& dataset = reader.require("rank" + std::to_string(rank), ElementType::f64, rank);
    const std::vector<double> values = reader.read<double>(dataset);
    EXPECT_EQ(std::memcmp(values.data(), pattern(dataset.shape.numel() * 8).data(), values.size() * 8), 0);
  }
  EXPECT_TRUE(reader.read<float>(reader.require("nothing", ElementType::f32, 1)).empty());
  EXPECT_EQ(reader.text("title"), "a \xc3\xa4 text");
  EXPECT_EQ(reader.text("empty"), "");
  EXPECT_EQ(reader.integer("count"), -1234567890123);
  EXPECT_EQ(reader.text(*reader.find("f32"), "unit"), "m");
  EXPECT_TRUE(reader.has_attribute("count"));
  EXPECT_FALSE(reader.has_attribute("absent"));
  EXPECT_EQ(reader.find("absent"), nullptr);
}

TEST_F(Hdf5Test, DataLiesWhereItSays) {
  write(folder_ / "a");
  const Hdf5Reader reader(folder_ / "a", FileKind::shard);
  const MappedFile file(folder_ / "a");
  const Dataset& dataset = *reader.find("i32");
  EXPECT_EQ(std::memcmp(file.bytes().data() + dataset.bytes.begin, pattern(60).data(), 60), 0);
  EXPECT_EQ(dataset.bytes.end - dataset.bytes.begin, 60);
}

TEST_F(Hdf5Test, EqualContentsAreEqualFiles) {
  write(folder_ / "a");
  write(folder_ / "b");
  EXPECT_EQ(read_file(folder_ / "a"), read_file(folder_ / "b"));
  EXPECT_LT(std::filesystem::file_size(folder_ / "a"), 40000u);  // the room reserved is given back
}

TEST_F(Hdf5Test, WritesInPieces) {
  std::vector<uint16_t> tokens(1000);
  std::iota(tokens.begin(), tokens.end(), uint16_t{7});
  Hdf5Writer writer(folder_ / "a", 2000);
  const Dataset dataset = writer.declare("tokens", ElementType::u16, {1000});
  writer.write(dataset, 600, tokens.data() + 600, 800);
  writer.write(dataset, 0, tokens.data(), 1200);
  writer.finish(FileKind::shard, {dataset});
  const Hdf5Reader reader(folder_ / "a", FileKind::shard);
  EXPECT_EQ(reader.read<uint16_t>(*reader.find("tokens")), tokens);
  EXPECT_EQ(reader.guard().excluded, std::vector<ByteRange>{reader.find("tokens")->bytes});
}

TEST_F(Hdf5Test, IsReadByTheLibraryItself) {
  write(folder_ / "a");
  const hid_t file = H5Fopen((folder_ / "a").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  const hid_t dataset = H5Dopen2(file, "f64", H5P_DEFAULT);
  std::vector<double> values(15);
  EXPECT_GE(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  EXPECT_EQ(std::memcmp(values.data(), pattern(120).data(), 120), 0);
  H5Dclose(dataset);
  H5Fclose(file);
}

TEST_F(Hdf5Test, RefusesWhatWeDoNotWrite) {
  const auto has = [&](const char* what, const std::function<void(hid_t)>& fill) {
    const std::string text = complaint(fill);
    EXPECT_NE(text.find(what), std::string::npos) << text;
  };
  has("nothing was thrown", [](hid_t file) { make(file, "x", H5T_IEEE_F32LE, {10}); });  // control
  has("not contiguous", [](hid_t file) {
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t chunk = 5;
    H5Pset_chunk(creation, 1, &chunk);
    make(file, "x", H5T_IEEE_F32LE, {10}, creation);
    H5Pclose(creation);
  });
  has("not contiguous", [](hid_t file) {
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(creation, H5D_COMPACT);
    make(file, "x", H5T_IEEE_F32LE, {10}, creation);
    H5Pclose(creation);
  });
  has("in another file", [&](hid_t file) {
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(creation, (folder_ / "outside").c_str(), 0, 40);
    make(file, "x", H5T_IEEE_F32LE, {10}, creation);
    H5Pclose(creation);
  });
  has("its data is not in the file", [](hid_t file) {  // never written, so never allocated
    const hsize_t dim = 10;
    const hid_t space = H5Screate_simple(1, &dim, nullptr);
    H5Dclose(H5Dcreate2(file, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
  });
  has("larger than the file", [](hid_t file) {
    const hsize_t dim = hsize_t{1} << 60;
    const hid_t space = H5Screate_simple(1, &dim, nullptr);
    H5Dclose(H5Dcreate2(file, "x", H5T_STD_U8LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
  });
  has("element type", [](hid_t file) { make(file, "x", H5T_IEEE_F32BE, {10}); });
  has("a link", [](hid_t file) { H5Lcreate_soft("/nowhere", file, "x", H5P_DEFAULT, H5P_DEFAULT); });
  has("a link", [](hid_t file) { H5Lcreate_external("/etc/passwd", "/y", file, "x", H5P_DEFAULT, H5P_DEFAULT); });
  has("not a readable dataset",
      [](hid_t file) { H5Gclose(H5Gcreate2(file, "x", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)); });
  has("more than 5 axes", [](hid_t file) { make(file, "x", H5T_IEEE_F32LE, {1, 1, 1, 1, 1, 1}); });
  has("overlaps", [](hid_t file) {  // one dataset under two names
    make(file, "x", H5T_IEEE_F32LE, {10});
    H5Lcreate_hard(file, "x", file, "y", H5P_DEFAULT, H5P_DEFAULT);
  });
  has("no shape", [](hid_t file) {
    const hid_t space = H5Screate(H5S_NULL);
    H5Dclose(H5Dcreate2(file, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
  });
}

TEST_F(Hdf5Test, RefusesSealedRubbish) {
  write_file(folder_ / "rubbish", std::string(5000, 'x'));
  seal(folder_ / "rubbish", FileKind::shard);
  const auto open = [&] { const Hdf5Reader reader(folder_ / "rubbish", FileKind::shard); };
  EXPECT_NE(message_of<Error>(open).find("not a readable HDF5 file"), std::string::npos);
}

TEST_F(Hdf5Test, SaysWhichAttributeIsWrong) {
  write(folder_ / "a");
  const Hdf5Reader reader(folder_ / "a", FileKind::shard);
  const auto text = [&](const auto& run) { return message_of<Error>(run); };
  EXPECT_NE(text([&] { reader.text("absent"); }).find("attribute absent is missing"), std::string::npos);
  EXPECT_NE(text([&] { reader.text("count"); }).find("attribute count: text is required"), std::string::npos);
  EXPECT_NE(text([&] { reader.integer("title"); }).find("attribute title: an integer"), std::string::npos);
  EXPECT_NE(text([&] { reader.require("absent", ElementType::f32, 1); }).find("dataset absent is missing"),
            std::string::npos);
  EXPECT_NE(text([&] { reader.require("f32", ElementType::f64, 2); }).find("f64 with 2 axes is required, got f32"),
            std::string::npos);
}

TEST_F(Hdf5Test, SaysWhatCannotBeWritten) {
  write_file(folder_ / "there", "x");
  EXPECT_THROW(Hdf5Writer(folder_ / "there", 0), Failure);
  EXPECT_EQ(read_file(folder_ / "there"), "x");
  EXPECT_THROW(Hdf5Writer(folder_ / "absent/a", 0), Failure);
  Hdf5Writer writer(folder_ / "a", 0);
  EXPECT_THROW(writer.attribute("long", std::string(70000, 'x')), Error);
}

}  // namespace
}  // namespace mara::io
