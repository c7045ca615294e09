// What a tape keeps alive, and until when.

#include <gtest/gtest.h>

#include "leaves.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/reduce.h"

namespace mara {
namespace {

constexpr int64_t kElements = 4096;
constexpr int64_t kBytes = kElements * 8;  // a size class of the pool

class TapeMemory : public testing::Test {
 protected:
  TapeMemory() : scope_(pool_), x_(Tensor::from(noise(kElements, 1), {kElements}, Dtype::f64, kCpu)) {}
  // Tensors of kElements that live now besides x.
  int64_t live() const { return pool_.live_bytes() / kBytes - 1; }
  int64_t peak() const { return pool_.peak_bytes() / kBytes - 1; }
  Tensor chain(const Tensor& x, int length) const {
    Tensor h = x;
    for (int i = 0; i < length; ++i) h = ops::sin(h);
    return ops::sum_all(h);
  }

  Pool pool_{kCpu};
  PoolScope scope_;
  Tensor x_;
};

TEST_F(TapeMemory, OnlyWhatBackwardNeedsIsSaved) {
  Tape tape;
  const Tensor x = tape.source(x_);
  // Each sin saves its input; of what scale and add make nothing is saved.
  const Tensor loss =
      recorded(tape, [&] { return ops::sum_all(ops::add(ops::scale(ops::add(ops::sin(ops::sin(x)), x), 2), x)); });
  EXPECT_EQ(live(), 1);  // the inner sin, which the outer one saved
}

TEST_F(TapeMemory, NothingIsSavedWithoutATape) {
  const Tensor loss = chain(x_, 10);
  EXPECT_EQ(live(), 0);
  EXPECT_EQ(peak(), 2);
}

// Layers sin(h + p_i) save one tensor each. When p_i is ready, those of the layers from i on are gone.
TEST_F(TapeMemory, ActivationsAreFreedAsBackwardWalks) {
  const Leaves leaves{{}, {}, {}, {}, {}};
  Tape tape;
  const Tensor loss = recorded(tape, [&] {
    Tensor h = x_;
    for (const Tensor& p : leaves.track()) h = ops::sin(ops::add(h, p));
    return ops::sum_all(h);
  });
  EXPECT_EQ(live(), 5);
  std::vector<int64_t> lives;
  pool_.reset_peak();
  tape.backward(loss, [&](Leaf&) { lives.push_back(live()); });
  EXPECT_EQ(lives, (std::vector<int64_t>{4 + 1, 3 + 1, 2 + 1, 1 + 1, 0}));  // and one gradient, but for x
  EXPECT_EQ(peak(), 5 + 2);
  EXPECT_EQ(live(), 0);
}

TEST_F(TapeMemory, EmptyWhenTheTapeIsGone) {
  const int64_t before = pool_.live_blocks();
  for (const bool walk : {true, false}) {
    Tape tape;
    const Tensor x = tape.source(x_);
    const Tensor loss = recorded(tape, [&] { return chain(x, 5); });
    if (walk) tape.backward(loss);
    EXPECT_GT(pool_.live_blocks(), before);
  }
  EXPECT_EQ(pool_.live_blocks(), before);
}

// What the trainer's check after each step relies on.
TEST_F(TapeMemory, ALeakIsSeenAndNamed) {
  const int64_t before = pool_.live_blocks();
  Tensor leak;
  {
    Tape tape;
    const Tensor x = tape.source(x_);
    tape.backward(recorded(tape, [&] {
      leak = ops::sin(x);
      return ops::sum_all(leak);
    }));
  }
  EXPECT_EQ(pool_.live_blocks(), before + 1);
  bool named = false;
  for (const Pool::Holder& holder : pool_.holders()) named |= holder.label == "unary" && holder.bytes == kBytes;
  EXPECT_TRUE(named);
  leak = Tensor();
  EXPECT_EQ(pool_.live_blocks(), before);
}

TEST(OutOfMemoryError, NamesTheOp) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer ends the program where the system would refuse";
#endif
  const auto of_matmul = [](int64_t size) {
    const Tensor a = Tensor::from(std::vector<double>(static_cast<size_t>(size)), {size, 1}, Dtype::f32, kCpu);
    try {
      ops::matmul(a, a, {.b = true});
    } catch (const OutOfMemory& error) {
      return std::string(error.what());
    }
    return std::string("fits");
  };
  EXPECT_TRUE(of_matmul(int64_t{1} << 24).starts_with("out of memory on cpu: matmul needs 1024.0 TiB more"))
      << of_matmul(1 << 24);
  EXPECT_EQ(of_matmul(16), "fits");
}

}  // namespace
}  // namespace mara
