#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "config/sample.h"

namespace mara::config {
namespace {

std::string parse_error(const std::string& text) {
  try {
    Document::parse(text, "x.yaml");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Document, AcceptsWhatRecipesLookLike) {
  for (const std::string text :
       {"a: 1\n", "---\na: 1\n", "a: 1\r\nb: {c: [1, 2], d: 'it''s', e: \"\\\"\"}\r\n",
        "\xEF\xBB\xBF\"\xC3\xBC\": 'x'\n", "a:\n- 1\n- 2\n", "a: |\n  two\n  lines\nb: >\n  one\n",
        "a:\t1 # comment\n\n# end\n", "a: x#y*&!\n", "{}"}) {
    EXPECT_EQ(parse_error(text), "") << text;
  }
}

TEST(Document, RefusesWhatIsNotPlain) {
  EXPECT_EQ(parse_error("a: 1\nb:\n  a: 2\n  c: 3\n  a: 4\n"), "x.yaml:5: b.a: duplicate key; first at x.yaml:3");
  EXPECT_EQ(parse_error("a: &x 1\nb: *x\n"),
            "x.yaml:1: a: anchors (&name) are not supported; write the value out where it is used");
  EXPECT_EQ(parse_error("a: 1\nb: *x\n"),
            "x.yaml:2: aliases are not supported; write the value out, or in quotes if it is text that begins with *");
  EXPECT_EQ(parse_error("a: {b: !!int 3}\n"),
            "x.yaml:1: a.b: tags (tag:yaml.org,2002:int) are not supported; write the value alone");
  EXPECT_EQ(parse_error("a: ! 3\n"), "x.yaml:1: a: tags (!) are not supported; write the value alone");
  EXPECT_EQ(parse_error("a: [1, !x [2]]\n"), "x.yaml:1: a[1]: tags (!x) are not supported; write the value alone");
  EXPECT_EQ(parse_error("a:\n  <<: {b: 1}\n"), "x.yaml:2: a.<<: merge keys are not supported; write the keys out");
  EXPECT_EQ(parse_error("a: 1\n---\nb: 2\n"), "x.yaml:2: one document is required, another one starts here");
  // Without end to the library (found by tests/fuzz/recipe_fuzz.cpp).
  for (const char* comma : {", a", "&a,", "a: 1\n, b", "[a], b"}) {
    EXPECT_EQ(parse_error(comma).find("x.yaml:"), 0u) << comma;
  }
  EXPECT_EQ(parse_error("{a: 1}\n, b"), "x.yaml:2: not valid YAML: a comma stands outside of brackets");
  EXPECT_EQ(parse_error("a: 1\n...\n%YAML 9\n"), "x.yaml:3: not valid YAML: bad YAML version: 9");
  EXPECT_EQ(parse_error("[a]: 1\n"), "x.yaml:1: keys must be text, got a list or mapping");
  EXPECT_EQ(parse_error("a: 1\n: 2\n"), "x.yaml:2: a key is required, got nothing");
}

TEST(Document, RefusesNull) {
  const std::string start = "a value is required, got nothing (an empty value, ~ and null mean nothing); ";
  EXPECT_EQ(parse_error("a: 1\nb:\nc: 2\n"), "x.yaml:2: b: " + start + "leave the key out to get its default");
  EXPECT_EQ(parse_error("a: {b: ~}\n"), "x.yaml:1: a.b: " + start + "leave the key out to get its default");
  EXPECT_EQ(parse_error("a: [1, null]\n"), "x.yaml:1: a[1]: " + start + "leave the key out to get its default");
  EXPECT_EQ(parse_error("a: {b:1}\n"), "x.yaml:1: a.b:1: " + start + "write a space after the colon");
}

TEST(Document, RefusesWhatIsNotAMapping) {
  for (const std::string text : {"", "\n# only a comment\n", "---\n", "~\n"}) {
    EXPECT_EQ(parse_error(text), "x.yaml: empty; a mapping of keys to values is required") << text;
  }
  EXPECT_EQ(parse_error("# first\n- 1\n"), "x.yaml:2: a mapping of keys to values is required, got a list");
  EXPECT_EQ(parse_error("hello\n"), "x.yaml:1: a mapping of keys to values is required, got 'hello'");
}

TEST(Document, RefusesBrokenText) {
  EXPECT_EQ(parse_error("a: 1\nb: c: d\n"), "x.yaml:2: not valid YAML: illegal map value");
  EXPECT_EQ(parse_error("a: [1, 2\nb: 3\n").substr(0, 26), "x.yaml:2: not valid YAML: ");
  EXPECT_EQ(parse_error("a: 1\nb: @x\n"), "x.yaml:2: not valid YAML: unknown token");
  EXPECT_EQ(parse_error("a: 1\nb: 'it''s\nc: 2\n"), "x.yaml:2: b: the quote is never closed");
  EXPECT_EQ(parse_error("a: \"b\\\"\nc: 2\n"), "x.yaml:1: a: the quote is never closed");
  EXPECT_EQ(parse_error("a:\n \tb: 1\n"), "x.yaml:2: tab in the indentation; use spaces");
  EXPECT_EQ(parse_error(std::string("a: 1\nb: \4\n")), "x.yaml:2: control character 4; a recipe is UTF-8 text");
}

TEST(Document, AnyCutOfARecipeIsReadOrRefused) {
  const std::string text = kSample + "name2: \"\\x41\"\nlist:\n  - 'a'\n  - {b: [1]}\n";
  int accepted = 0;
  for (size_t end = 0; end <= text.size(); ++end) accepted += parse_error(text.substr(0, end)).empty();
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, static_cast<int>(text.size()));
}

TEST(Document, File) {
  const std::string path = testing::TempDir() + "mara_document_test.yaml";
  std::ofstream(path) << kSample;
  Recipe recipe;
  Document::load(path).read(recipe);
  EXPECT_EQ(recipe.model.width, 32);
  std::remove(path.c_str());
  EXPECT_THROW(
      {
        try {
          Document::load(path);
        } catch (const Error& e) {
          EXPECT_EQ(std::string(e.what()), path + ": cannot be read: No such file or directory");
          throw;
        }
      },
      Error);
  try {
    Document::load(testing::TempDir());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()), testing::TempDir() + ": a YAML file is required, this is a folder");
  }
}

}  // namespace
}  // namespace mara::config
