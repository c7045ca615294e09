#include "core/parallel.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace mara {
namespace {

class Parallel : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_thread_count(GetParam()); }
  void TearDown() override { set_thread_count(threads_); }

 private:
  int threads_ = thread_count();
};

TEST_P(Parallel, VisitsEveryItemOnceInChunksOfTheGrain) {
  std::vector<int> visits(1003);
  parallel_chunks(1003, 10, [&](int64_t begin, int64_t end) {
    EXPECT_TRUE(begin % 10 == 0 && (end - begin == 10 || end == 1003));
    for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
  });
  EXPECT_EQ(visits, std::vector<int>(1003, 1));
  parallel_chunks(0, 10, [&](int64_t, int64_t) { ADD_FAILURE() << "nothing to do"; });
}

// An exception must not end the process, and which one is seen must not depend on the number of threads.
TEST_P(Parallel, ThrowsTheExceptionOfTheFirstChunkThatFailed) {
  try {
    parallel_chunks(100, 1, [](int64_t begin, int64_t) {
      if (begin == 30 || begin == 90) throw std::runtime_error(std::to_string(begin));
    });
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "30");
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, Parallel, testing::Values(1, 2, 3));

}  // namespace
}  // namespace mara
