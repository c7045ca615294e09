#include "core/format.h"

#include <gtest/gtest.h>

namespace mara {
namespace {

TEST(Format, Numbers) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1000), "1,000");
  EXPECT_EQ(with_commas(-1234567), "-1,234,567");
  EXPECT_EQ(duration(8.26), "8.3 s");
  EXPECT_EQ(duration(125), "2 min 05 s");
  EXPECT_EQ(duration(3720), "1 h 02 min");
  EXPECT_EQ(duration(59.96), "1 min 00 s");
  EXPECT_EQ(bytes_text(1023), "1023 bytes");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(int64_t{5} << 50), "5120.0 TiB");
}

TEST(Format, ListsAreCutAfterTwentyLines) {
  EXPECT_EQ(listed({}), "");
  EXPECT_EQ(listed({"a", "b"}), "\n  a\n  b");
  std::string twenty;
  for (int i = 0; i < 20; ++i) twenty += "\n  a";
  EXPECT_EQ(listed(std::vector<std::string>(20, "a")), twenty);
  EXPECT_EQ(listed(std::vector<std::string>(1'023, "a")), twenty + "\n  and 1,003 more");
}

TEST(Format, PrintableTextHoldsNoControlCharacters) {
  const std::string harmless = "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x99\x82 \xC2\xA0 \\x1b";
  EXPECT_EQ(printable(harmless), harmless);
  EXPECT_EQ(printable("\x1b]0;title\x07\x7f"), "\\x1b]0;title\\x07\\x7f");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m"),
            "\\xc2\\x9b31m");  // the control sequence introducer in one character
  EXPECT_EQ(printable("\xC0\xAF\xED\xA0\x80\xFF\xC3("), "\\xc0\\xaf\\xed\\xa0\\x80\\xff\\xc3(");
  EXPECT_EQ(printable("a\n\tb\r"), "a\\x0a\\x09b\\x0d");
  EXPECT_EQ(printable("a\n\tb\r", "\n\t"), "a\n\tb\\x0d");
}

TEST(Format, UnfinishedCharacters) {
  const std::string euro = "\xE2\x82\xAC", smile = "\xF0\x9F\x99\x82";
  for (const std::string& whole : {euro, smile}) {
    for (size_t n = 1; n < whole.size(); ++n) EXPECT_EQ(unfinished_utf8("a" + whole.substr(0, n)), n);
    EXPECT_EQ(unfinished_utf8(whole), 0u);
  }
  for (const char* text : {"", "a", "\xFF", "\x82", "\x82\x82\x82\x82", "\xE2("}) EXPECT_EQ(unfinished_utf8(text), 0u);
}

}  // namespace
}  // namespace mara
