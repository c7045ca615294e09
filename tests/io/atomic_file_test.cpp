#include "io/atomic_file.h"

#include "core/error.h"
#include "core/thrown.h"
#include "io/file.h"
#include "io/files.h"
#include "io/mapped_file.h"

namespace mara::io {
namespace {

size_t files_in(const std::filesystem::path& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

TEST(AtomicFile, AppearsWhole) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a");
  EXPECT_EQ(file.temporary().parent_path(), folder.path());
  EXPECT_TRUE(is_temporary(file.temporary()));
  EXPECT_FALSE(is_temporary(file.target()));
  write_file(file.temporary(), "new");
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
  file.commit();
  EXPECT_EQ(read_file(folder / "a"), "new");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(AtomicFile, LeavesNothingOfAFailure) {
  const TemporaryFolder folder;
  {
    AtomicFile file(folder / "a");
    write_file(file.temporary(), "half");
  }
  EXPECT_EQ(files_in(folder.path()), 0u);
}

TEST(AtomicFile, ReplacesOnlyWhenTold) {
  const TemporaryFolder folder;
  AtomicFile late(folder / "a");
  write_file(folder / "a", "old");
  EXPECT_THROW(AtomicFile(folder / "a"), Error);
  write_file(late.temporary(), "new");
  EXPECT_NE(message_of<Error>([&] { late.commit(); }).find("exists and is not overwritten"), std::string::npos);
  EXPECT_EQ(read_file(folder / "a"), "old");
  AtomicFile replacing(folder / "a", Existing::replace);
  write_file(replacing.temporary(), "new");
  replacing.commit();
  EXPECT_EQ(read_file(folder / "a"), "new");
}

TEST(AtomicFile, FailsWithTheReason) {
  const TemporaryFolder folder;
  AtomicFile never_written(folder / "a");
  EXPECT_NE(message_of<Failure>([&] { never_written.commit(); }).find("No such file"), std::string::npos);
}

TEST(AtomicFile, NeedsAPlace) {
  const TemporaryFolder folder;
  const auto said = [](const std::filesystem::path& path) {
    return message_of<Error>([&] { AtomicFile(path, Existing::replace); });
  };
  EXPECT_EQ(said(folder / "a"), "nothing was thrown");  // the control
  EXPECT_EQ(said("a"), "nothing was thrown");
  EXPECT_NE(said(folder / "none/a").find("none/a: cannot be made: there is no folder"), std::string::npos);
  EXPECT_NE(said(folder.path()).find("this is a folder's"), std::string::npos);
  EXPECT_NE(said(folder / "").find("this is a folder's"), std::string::npos);
  write_file(folder / "file", "");
  EXPECT_NE(said(folder / "file/a").find("there is no folder"), std::string::npos);
}

TEST(AtomicFile, MessagesNameWhatWasAskedFor) {
  const TemporaryFolder folder;
  const AtomicFile file(folder / "a");
  EXPECT_EQ(final_name(file.temporary()), folder / "a");
  EXPECT_EQ(final_name(folder / "a.h5"), folder / "a.h5");
  std::filesystem::create_directory(file.temporary());
  const std::string said = message_of<Failure>([&] { File::create(file.temporary()); });
  EXPECT_EQ(said, (folder / "a").string() + ": cannot be made: File exists");
  std::filesystem::remove(file.temporary());
}

TEST(MappedFile, HoldsTheBytes) {
  const TemporaryFolder folder;
  write_file(folder / "a", "content");
  write_file(folder / "empty", "");
  const MappedFile file(folder / "a");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()), "content");
  EXPECT_TRUE(MappedFile(folder / "empty").bytes().empty());
  EXPECT_THROW(MappedFile(folder / "absent"), Error);
  EXPECT_THROW(MappedFile(folder.path()), Error);
}

}  // namespace
}  // namespace mara::io
