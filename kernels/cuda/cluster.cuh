#pragma once
// Blocks of a cluster, which can write to each other's shared memory. Addresses in it are those of a block's own, or
// by `in_block` those of another's. Nobody may send to a block that has left.

#include "kernels/cuda/complex_tile.cuh"

namespace mara::kernels::cuda {

__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
/// Where the block of a rank has what this one has at an address.
__device__ __forceinline__ uint32_t in_block(uint32_t address, uint32_t rank) {
  uint32_t there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}
/// All threads of all blocks meet, in two halves or at once.
__device__ __forceinline__ void arrive_in_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void wait_in_cluster() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ __forceinline__ void meet_in_cluster() { arrive_in_cluster(), wait_in_cluster(); }

/// A barrier for what other blocks send, initialised with one arrival: that of the thread that announces how many bytes
/// the next turn brings, at any time once the turn before is complete. Waits acquire for the block alone, in whose
/// memory the bytes arrive: if they did for the cluster, every poll would invalidate the L1 cache.
struct ReceiveBarrier : SharedBarrier {
  __device__ __forceinline__ void expect(uint32_t bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(address), "r"(bytes)
                 : "memory");
  }
};
/// Makes initialised barriers known to the cluster, which must meet afterwards.
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
/// After a thread's writes to shared memory that `send` is to read, and before it lets the sender know.
__device__ __forceinline__ void fence_sends() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/// Sends bytes, a multiple of 16, to a block, and then counts them at a barrier there.
__device__ __forceinline__ void send(uint32_t to, uint32_t from, uint32_t bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "r"(from), "r"(bytes), "r"(barrier)
               : "memory");
}
/// The same of 16 bytes in registers.
__device__ __forceinline__ void send_four(uint32_t to, uint4 x, uint32_t barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
               "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w), "r"(barrier)
               : "memory");
}

}  // namespace mara::kernels::cuda
