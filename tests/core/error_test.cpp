#include "core/error.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "core/dtype.h"
#include "thrown.h"

namespace mara {
namespace {

TEST(Check, MessageIsMadeOfItsPartsOnFailureOnly) {
  int built = 0;
  const auto part = [&] {
    ++built;
    return "text";
  };
  EXPECT_NO_THROW(([&] { MARA_CHECK(true, part()); })());
  EXPECT_EQ(built, 0);
  EXPECT_EQ(
      message_of<Error>([&] { MARA_CHECK(1 > 2, "op: ", part(), " ", 7, " ", 0.5, " ", true, " ", Dtype::bf16); }),
      "op: text 7 0.5 true bf16");
  EXPECT_EQ(built, 1);
}

TEST(ErrorContext, AddsLinesInnermostFirst) {
  const ErrorContext outer("forward of step 0");
  EXPECT_EQ(message_of<Error>([] {
              const ErrorContext inner("block 3: hyena");
              MARA_CHECK(false, "fft_conv: filter has 512 channels, u has 768");
            }),
            "fft_conv: filter has 512 channels, u has 768\n  in block 3: hyena\n  in forward of step 0");
  // The inner context has ended with its scope although an exception went through it.
  EXPECT_STREQ(Error("next").what(), "next\n  in forward of step 0");
}

TEST(ErrorContext, BelongsToItsThread) {
  const ErrorContext here("this thread");
  std::string text;
  std::thread([&] { text = Error("elsewhere").what(); }).join();
  EXPECT_EQ(text, "elsewhere");
}

TEST(Failure, IsAnErrorOfItsOwnKind) {
  EXPECT_EQ(message_of<Failure>([] { throw Failure("disk full"); }), "disk full");
  EXPECT_EQ(message_of<Error>([] { throw Failure("disk full"); }), "disk full");
  EXPECT_EQ(dynamic_cast<const Failure*>(std::make_unique<Error>("usage").get()), nullptr);
}

TEST(Internal, OurOwnMistakesAreNotErrors) {
  EXPECT_EQ(message_of<std::logic_error>([] { detail::throw_internal("x > 0", "file.cpp", 12); }),
            "internal error: x > 0 at file.cpp:12");
}

}  // namespace
}  // namespace mara
