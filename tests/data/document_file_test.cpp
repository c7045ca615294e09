#include "data/document_file.h"

#include "data/shards.h"
#include "io/hash.h"

namespace mara::data {
namespace {

std::vector<std::string> documents_of(const std::filesystem::path& path, const std::string& separator) {
  DocumentFile file(path, separator);
  std::vector<std::string> out;
  while (const auto document = file.next()) {
    std::string& text = out.emplace_back();
    for (int64_t at = document->begin; at < document->end;) {
      const std::string_view piece = file.piece(at, document->end);
      text += piece;
      at += static_cast<int64_t>(piece.size());
    }
    EXPECT_EQ(document->hash, io::xxh3(text.data(), text.size()));
  }
  return out;
}

TEST(DocumentFile, CutsAtSeparators) {
  const TemporaryFolder folder;
  using Texts = std::vector<std::string>;
  const auto cut = [&](const std::string& content, const std::string& separator) {
    write_file(folder / "file", content);
    return documents_of(folder / "file", separator);
  };
  EXPECT_EQ(cut("one\n\ntwo", ""), (Texts{"one\n\ntwo"}));
  EXPECT_EQ(cut("one\n\ntwo", "\n\n"), (Texts{"one", "two"}));
  EXPECT_EQ(cut("one\n\ntwo\n\n", "\n\n"), (Texts{"one", "two"}));
  EXPECT_EQ(cut("\n\n\n\none\n", "\n\n"), (Texts{"", "", "one\n"}));
  EXPECT_EQ(cut("aab", "ab"), (Texts{"a"}));
  EXPECT_EQ(cut("a", "ab"), (Texts{"a"}));
  EXPECT_EQ(cut("", "ab"), Texts{});
  EXPECT_EQ(cut(std::string("x\0y", 3), std::string(1, '\0')), (Texts{"x", "y"}));
}

TEST(DocumentFile, PiecesDoNotMatter) {
  const TemporaryFolder folder;
  // Longer than what is read at once, with a separator at every place around its end.
  for (const int64_t shift : {-4, -3, -2, -1, 0, 1}) {
    const std::string first(static_cast<size_t>((1 << 20) + shift), 'a'), second(3 << 20, 'b');
    write_file(folder / "file", first + "<|>" + second + "<|>c");
    EXPECT_EQ(documents_of(folder / "file", "<|>"), (std::vector<std::string>{first, second, "c"})) << shift;
  }
}

TEST(DocumentFile, SaysWhatItCannotRead) {
  const TemporaryFolder folder;
  expect_parts(error_of([&] { DocumentFile(folder / "none", ""); }), {(folder / "none").string()});
  expect_parts(error_of([&] { DocumentFile(folder.path(), ""); }), {folder.path().string(), "folder"});
}

}  // namespace
}  // namespace mara::data
