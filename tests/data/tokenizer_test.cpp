#include "data/tokenizer.h"

#include "data/shards.h"

namespace mara::data {
namespace {

TEST(Tokenizer, BytesGoThereAndBack) {
  std::string text;
  for (int i = 0; i < 256; ++i) text += static_cast<char>(i);
  std::vector<int32_t> ids{7};
  bytes().encode(text, ids);
  ASSERT_EQ(ids.size(), 257u);
  EXPECT_EQ(ids[0], 7);  // appended
  for (int i = 0; i < 256; ++i) EXPECT_EQ(ids[static_cast<size_t>(i) + 1], i);
  EXPECT_EQ(bytes().decode(std::span(ids).subspan(1)), text);
}

TEST(Tokenizer, SeparatorsAreNoText) {
  EXPECT_EQ(bytes().separator(), 256);
  EXPECT_EQ(bytes().vocabulary(), 257);
  EXPECT_EQ(bytes().decode(std::array{'a' + 0, 256, 'b' + 0}), "ab");
  EXPECT_EQ(bytes().bytes(256), 0);
  EXPECT_EQ(bytes().bytes(255), 1);
}

TEST(Tokenizer, OthersAreNotKnown) {
  expect_parts(error_of([] { make_tokenizer("gpt2"); }), {"'bytes'", "'gpt2'"});
}

}  // namespace
}  // namespace mara::data
