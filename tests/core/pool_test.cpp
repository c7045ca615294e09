#include "core/pool.h"

#include <gtest/gtest.h>

#include <memory>

#include "core/tensor.h"

namespace mara {
namespace {

int64_t class_of(int64_t bytes) {
  Pool pool(kCpu);
  return Storage(pool, bytes).bytes();
}

TEST(Pool, SizeClassesAreFourPerPowerOfTwo) {
  EXPECT_EQ(class_of(0), 256);
  EXPECT_EQ(class_of(256), 256);
  EXPECT_EQ(class_of(257), 512);
  EXPECT_EQ(class_of(4096), 4096);
  EXPECT_EQ(class_of(4097), 5120);
  EXPECT_EQ(class_of(5121), 6144);
  EXPECT_EQ(class_of(7169), 8192);
  EXPECT_EQ(class_of((int64_t{3} << 20) + 1), int64_t{7} << 19);
  for (int64_t bytes = 1024; bytes < 20000; bytes += 7) {
    EXPECT_GE(class_of(bytes), bytes);
    EXPECT_LE(class_of(bytes), bytes + bytes / 4 + 256);
  }
}

TEST(Pool, ReleasedBlocksAreUsedAgainForTheirClass) {
  Pool pool(kCpu);
  void* first = nullptr;
  {
    const Storage block(pool, 1000);
    first = block.data();
  }
  const int64_t reserved = pool.reserved_bytes();
  const Storage same_class(pool, 900), other_class(pool, 2000);
  EXPECT_EQ(same_class.data(), first);
  EXPECT_NE(other_class.data(), first);
  EXPECT_EQ(pool.reserved_bytes(), reserved + other_class.bytes());
}

TEST(Pool, BlocksAreAligned) {
  Pool pool(kCpu);
  for (int64_t bytes : {1, 1000, 5 << 20}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(Storage(pool, bytes).data()) % 256, 0u);
  }
}

TEST(Pool, CountsLiveAndPeakMemory) {
  Pool pool(kCpu);
  auto a = std::make_unique<Storage>(pool, 1024), b = std::make_unique<Storage>(pool, 4096);
  EXPECT_EQ(pool.live_bytes(), 5120);
  EXPECT_EQ(pool.live_blocks(), 2);
  a.reset();
  EXPECT_EQ(pool.live_bytes(), 4096);
  EXPECT_EQ(pool.peak_bytes(), 5120);
  pool.reset_peak();
  EXPECT_EQ(pool.peak_bytes(), 4096);
  b.reset();
  EXPECT_EQ(pool.live_bytes(), 0);
  EXPECT_EQ(pool.live_blocks(), 0);
  EXPECT_EQ(pool.reserved_bytes(), 5120);
}

TEST(Pool, HoldersAreSummedByLabelLargestFirst) {
  Pool pool(kCpu);
  Storage a(pool, 1024), b(pool, 4096), c(pool, 1024), d(pool, 512);
  a.label = c.label = "matmul";
  b.label = "fft_conv";
  {
    Storage gone(pool, 8192);
    gone.label = "gone";
  }
  const std::vector<Pool::Holder> holders = pool.holders();
  ASSERT_EQ(holders.size(), 3u);
  EXPECT_EQ(holders[0].label, "fft_conv");
  EXPECT_EQ(holders[1].label, "matmul");
  EXPECT_EQ(holders[1].bytes, 2048);
  EXPECT_EQ(holders[1].blocks, 2);
  EXPECT_EQ(holders[2].label, "unnamed");
}

TEST(Pool, ScopesNestAndConcernTheirDeviceOnly) {
  Pool outer(kCpu), inner(kCpu);
  Pool& general = current_pool(kCpu);
  {
    const PoolScope in_outer(outer);
    EXPECT_EQ(&current_pool(kCpu), &outer);
    EXPECT_NE(&current_pool(kMeta), &outer);
    {
      const PoolScope in_inner(inner);
      EXPECT_EQ(&current_pool(kCpu), &inner);
    }
    EXPECT_EQ(&current_pool(kCpu), &outer);
  }
  EXPECT_EQ(&current_pool(kCpu), &general);
}

TEST(Pool, MemoryLivesAsLongAsTheLastTensorThatSharesIt) {
  Pool pool(kCpu);
  {
    Tensor view;
    {
      const PoolScope scope(pool);
      const Tensor tensor = Tensor::empty({100, 10}, Dtype::f32, kCpu);
      view = tensor.reshape({10, 100}).narrow(2, 3);
    }
    EXPECT_EQ(pool.live_blocks(), 1);
    EXPECT_EQ(&view.storage()->pool(), &pool);
  }
  EXPECT_EQ(pool.live_blocks(), 0);
}

TEST(Pool, OfTheMetaDeviceCountsWithoutMemory) {
  Pool pool(kMeta);
  const Storage block(pool, int64_t{1} << 50);
  EXPECT_EQ(block.data(), nullptr);
  EXPECT_EQ(pool.live_bytes(), int64_t{1} << 50);
}

TEST(Pool, OutOfMemoryNamesTheRequestAndTheHolders) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer ends the program where the system would refuse";
#endif
  Pool pool(kCpu), other(kCpu), kept(kCpu);
  const Storage held(pool, 1 << 30, "layer_norm"), elsewhere(other, 1 << 29, "master weights");
  { Storage(other, 1 << 28), Storage(kept, 1 << 28); }
  kept.keep_blocks();
  const int64_t calls = other.system_calls();
  try {
    Storage(pool, int64_t{1} << 60, "fft_conv");
    FAIL() << "nothing was thrown";
  } catch (const OutOfMemory& error) {
    for (const char* part : {"out of memory on cpu: fft_conv needs 1048576.0 TiB more", "layer_norm 1.0 GiB",
                             "master weights 512.0 MiB", " are kept for reuse"}) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
  EXPECT_EQ(pool.live_blocks(), 1);  // what failed left nothing behind
  // Every pool has given back what it could.
  EXPECT_EQ(other.reserved_bytes(), other.live_bytes());
  EXPECT_GT(other.system_calls(), calls);
  EXPECT_GT(kept.reserved_bytes(), 0);
}

}  // namespace
}  // namespace mara
