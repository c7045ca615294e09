#include "core/staging.h"

#include <numeric>

#include "devices.h"

namespace mara {
namespace {

class StagingTest : public OnDevice {};

TEST_P(StagingTest, KeepsTheOrderAndFreesTheHost) {
  constexpr int64_t kCount = 1000;
  const Tensor memory = Tensor::empty({kCount}, Dtype::i32, device());
  Upload down(device(), kCount * sizeof(int32_t));
  Download up(device(), kCount * sizeof(int32_t));
  std::vector<int32_t> host(kCount), back(kCount);
  for (int round = 0; round < 10; ++round) {
    std::iota(host.begin(), host.end(), round);
    down.send(memory.view().data, host.data());
    host.assign(kCount, -1);  // ours again
    up.fetch(memory.view().data);
    if (round == 0) continue;  // one behind
    up.collect(back.data());
    EXPECT_EQ(back.front(), round - 1);
    EXPECT_EQ(back.back(), round - 1 + kCount - 1);
  }
  up.collect(back.data());
  EXPECT_EQ(back.front(), 9);
  EXPECT_EQ(memory.to_host_i32(), back);
  EXPECT_THROW(up.collect(back.data()), std::logic_error);
  for (int i = 0; i < 3; ++i) up.fetch(memory.view().data);
  EXPECT_THROW(up.fetch(memory.view().data), std::logic_error);
}

MARA_ON_EVERY_DEVICE(StagingTest);

}  // namespace
}  // namespace mara
