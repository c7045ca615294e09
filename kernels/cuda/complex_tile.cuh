#pragma once
// Complex 16 x 16 tiles of one warp: fp16 in registers, products with constant matrices on tensor cores with f32 sums,
// and their place in shared memory.
//
// A tile is held as mma's a operand (mma.cuh): register q = h + 2 e of lane 4 g + t holds row g + 8 h, columns
// 2 t + 8 e and the next. The same registers, read as b operands, are the transposed tile. So a contraction over a
// tile's columns can be a right product, tile times F, or a left product, F times the transposed tile, whose result is
// transposed; alternating them brings every index to the columns in turn without moving data.

#include "kernels/cuda/mma.cuh"

namespace mara::kernels::cuda {

/// The capability that the code this GPU runs was compiled for, 90 for 9.0, which may be older than the GPU. Kernels on
/// tiles have empty bodies below 90, for some of the instructions here: ask before a launch.
template <int>
__global__ void probe_code() {}
inline int code_capability() {
  static const int capability = [] {
    cudaFuncAttributes attributes;
    MARA_CUDA(cudaFuncGetAttributes(&attributes, probe_code<0>));
    return attributes.ptxVersion;
  }();
  return capability;
}

// ---- Pairs of fp16 in a register, the first in its low half.

__device__ __forceinline__ __half2 as_half2(uint32_t pair) { return *reinterpret_cast<const __half2*>(&pair); }
__device__ __forceinline__ uint32_t as_word(__half2 pair) { return *reinterpret_cast<const uint32_t*>(&pair); }
/// Pairs of bf16: product, and the larger magnitude of each (with any sign; a NaN loses against a number).
__device__ __forceinline__ uint32_t multiply_bf16(uint32_t a, uint32_t b) {
  const __nv_bfloat162 product =
      __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&a), *reinterpret_cast<const __nv_bfloat162*>(&b));
  return *reinterpret_cast<const uint32_t*>(&product);
}
__device__ __forceinline__ uint32_t larger_magnitude(uint32_t a, uint32_t b) {
  uint32_t y;
  asm("max.xorsign.abs.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
}

/// The same number, which the compiler then keeps instead of computing it anew at every use. All lanes together.
__device__ __forceinline__ uint32_t opaque(uint32_t x) { return __shfl_sync(0xffffffffu, x, threadIdx.x % 32); }

/// exp(2 pi i turns), within 5e-7.
__device__ __forceinline__ float2 unit(float turns) {
  const float angle = 6.28318530717958648f * (turns - rintf(turns));
  return {__cosf(angle), __sinf(angle)};
}

// ---- Shared memory by address.

__device__ __forceinline__ uint32_t load_word(uint32_t address) {
  uint32_t x;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(x) : "r"(address) : "memory");
  return x;
}
__device__ __forceinline__ uint2 load_two(uint32_t address) {
  uint2 x;
  asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "r"(address) : "memory");
  return x;
}
__device__ __forceinline__ uint4 load_four(uint32_t address) {
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(address)
               : "memory");
  return x;
}
__device__ __forceinline__ void store_word(uint32_t address, uint32_t x) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(x) : "memory");
}
__device__ __forceinline__ void store_four(uint32_t address, uint4 x) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
               : "memory");
}
__device__ __forceinline__ void store_matrices(uint32_t address, const uint32_t (&from)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(from[0]),
               "r"(from[1]), "r"(from[2]), "r"(from[3])
               : "memory");
}
__device__ __forceinline__ void store_transposed(uint32_t address, const uint32_t (&from)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(from[0]),
               "r"(from[1]), "r"(from[2]), "r"(from[3])
               : "memory");
}

/// An mbarrier in shared memory, 8 bytes. Turns are counted from 0.
struct SharedBarrier {
  uint32_t address;

  __device__ __forceinline__ void init(int arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(arrivals) : "memory");
  }
  __device__ __forceinline__ void wait(uint32_t turn) const {
    asm volatile(
        "{ .reg .pred done;\n"
        "WAIT: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra WAIT; }" ::"r"(address),
        "r"(turn & 1)
        : "memory");
    __syncwarp();  // the collective instructions that follow need the lanes together
  }
};

/// A barrier of a block in two halves, initialised with its number of threads: each announces that its data is written
/// or read, goes on with work of its own, and waits only when it needs the others'.
struct SplitBarrier : SharedBarrier {
  __device__ __forceinline__ void arrive() const {
    __syncwarp();
    asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(address) : "memory");
  }
};

/// A split barrier that warps with nothing else to do wait at without taking issue slots from others.
struct PatientBarrier : SplitBarrier {
  __device__ __forceinline__ void wait(uint32_t turn) const {
    asm volatile(
        "{ .reg .pred done;\n"
        "WAIT: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [%0], %1;\n"
        "@done bra DONE;\n"
        "nanosleep.u32 20;\n"
        "bra WAIT;\n"
        "DONE: }" ::"r"(address),
        "r"(turn & 1)
        : "memory");
    __syncwarp();
  }
};

/// A barrier, initialised with its number of threads, for what their asynchronous copies bring: each thread announces
/// its own, which then arrive without it.
struct CopyBarrier : SharedBarrier {
  __device__ __forceinline__ void arrive_with_copies() const {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(address) : "memory");
  }
};

// ---- Tiles.

struct ComplexTile {
  uint32_t re[4], im[4];
};
/// f32 sums of a tile: [j][2 h + i] is row g + 8 h, column 8 j + 2 t + i.
struct ComplexSums {
  float re[2][4], im[2][4];
};

__device__ __forceinline__ void round(uint32_t (&to)[4], const float (&sums)[2][4]) {
#pragma unroll
  for (int q = 0; q < 4; ++q) to[q] = pack_halves(sums[q >> 1][(q & 1) * 2], sums[q >> 1][(q & 1) * 2 + 1]);
}
__device__ __forceinline__ ComplexTile rounded(const ComplexSums& sums) {
  ComplexTile tile;
  round(tile.re, sums.re);
  round(tile.im, sums.im);
  return tile;
}

/// a *= b, or a *= conj b, element by element.
template <bool kConj>
__device__ __forceinline__ void multiply(ComplexTile& a, const ComplexTile& b) {
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    const __half2 re = as_half2(a.re[q]), im = as_half2(a.im[q]), c = as_half2(b.re[q]), s = as_half2(b.im[q]);
    if constexpr (kConj) {
      a.re[q] = as_word(__hfma2(im, s, __hmul2(re, c)));
      a.im[q] = as_word(__hfma2(__hneg2(re), s, __hmul2(im, c)));
    } else {
      a.re[q] = as_word(__hfma2(__hneg2(im), s, __hmul2(re, c)));
      a.im[q] = as_word(__hfma2(re, s, __hmul2(im, c)));
    }
  }
}
/// a += b c, or a += b conj(c).
template <bool kConj>
__device__ __forceinline__ void multiply_add(ComplexTile& a, const ComplexTile& b, const ComplexTile& c) {
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    const __half2 b_re = as_half2(b.re[q]), b_im = as_half2(b.im[q]), c_re = as_half2(c.re[q]);
    const __half2 c_im = kConj ? __hneg2(as_half2(c.im[q])) : as_half2(c.im[q]);
    a.re[q] = as_word(__hfma2(__hneg2(b_im), c_im, __hfma2(b_re, c_re, as_half2(a.re[q]))));
    a.im[q] = as_word(__hfma2(b_im, c_re, __hfma2(b_re, c_im, as_half2(a.im[q]))));
  }
}
__device__ __forceinline__ void negate(uint32_t (&to)[4], const uint32_t (&from)[4]) {
#pragma unroll
  for (int q = 0; q < 4; ++q) to[q] = from[q] ^ 0x80008000u;
}
__device__ __forceinline__ uint32_t multiply_pair(uint32_t a, uint32_t b) {
  return as_word(__hmul2(as_half2(a), as_half2(b)));
}

/// A tile of value(row, column), for `lane`.
template <class Value>
__device__ __forceinline__ ComplexTile make_tile(int lane, const Value& value) {
  ComplexTile tile;
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    const int row = lane / 4 + 8 * (q & 1), column = 2 * (lane % 4) + 8 * (q >> 1);
    const float2 a = value(row, column), b = value(row, column + 1);
    tile.re[q] = pack_halves(a.x, b.x), tile.im[q] = pack_halves(a.y, b.y);
  }
  return tile;
}

/// A constant symmetric matrix, once as a operand and once as b operand: mma wants the two registers of b adjacent. The
/// second copy passes through 16 bytes of shared memory of the lane's own, or the compiler would see that it is one and
/// move registers for every product.
struct LeanSymmetricMatrix {
  uint32_t re[4], im[4];            // as a operand
  uint32_t re_b[2][2], im_b[2][2];  // [column half][row half]

  __device__ __forceinline__ LeanSymmetricMatrix(const ComplexTile& a, uint32_t own) {
#pragma unroll
    for (int q = 0; q < 4; ++q) re[q] = a.re[q], im[q] = a.im[q];
    copy(re_b, re, own), copy(im_b, im, own);
  }

 protected:
  __device__ __forceinline__ static void copy(uint32_t (&b)[2][2], const uint32_t (&a)[4], uint32_t own) {
    store_four(own, {a[0], a[1], a[2], a[3]});
    asm volatile("ld.volatile.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(b[0][0]), "=r"(b[1][0]), "=r"(b[0][1]), "=r"(b[1][1])
                 : "r"(own)
                 : "memory");
  }
};
/// With -im as well, so that nothing has to be negated for a product.
struct SymmetricMatrix : LeanSymmetricMatrix {
  uint32_t negative[4], negative_b[2][2];

  __device__ __forceinline__ SymmetricMatrix(const ComplexTile& a, uint32_t own) : LeanSymmetricMatrix(a, own) {
    negate(negative, im);
    copy(negative_b, negative, own);
  }
};

/// F x^T, or conj(F) x^T.
template <bool kConj>
__device__ __forceinline__ ComplexSums multiply_left(const LeanSymmetricMatrix& f, const ComplexTile& x) {
  uint32_t negated[4];
  negate(negated, kConj ? x.re : x.im);
  const uint32_t(&negative)[4] = negated;
  const uint32_t(&plus)[4] = kConj ? negative : x.re;
  const uint32_t(&minus)[4] = kConj ? x.im : negative;
  ComplexSums sums{};
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    mma_half(sums.re[j], f.re, x.re[j], x.re[j + 2]);
    mma_half(sums.im[j], f.im, plus[j], plus[j + 2]);
    mma_half(sums.re[j], f.im, minus[j], minus[j + 2]);
    mma_half(sums.im[j], f.re, x.im[j], x.im[j + 2]);
  }
  return sums;
}
template <bool kConj>
__device__ __forceinline__ ComplexSums multiply_left(const SymmetricMatrix& f, const ComplexTile& x) {
  const uint32_t(&plus)[4] = kConj ? f.negative : f.im;
  const uint32_t(&minus)[4] = kConj ? f.im : f.negative;
  ComplexSums sums{};
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    mma_half(sums.re[j], f.re, x.re[j], x.re[j + 2]);
    mma_half(sums.im[j], plus, x.re[j], x.re[j + 2]);
    mma_half(sums.re[j], minus, x.im[j], x.im[j + 2]);
    mma_half(sums.im[j], f.re, x.im[j], x.im[j + 2]);
  }
  return sums;
}
/// x F, or x conj(F).
template <bool kConj>
__device__ __forceinline__ ComplexSums multiply_right(const ComplexTile& x, const LeanSymmetricMatrix& f) {
  uint32_t negated[4];
  negate(negated, kConj ? x.re : x.im);
  const uint32_t(&negative)[4] = negated;
  const uint32_t(&plus)[4] = kConj ? negative : x.re;
  const uint32_t(&minus)[4] = kConj ? x.im : negative;
  ComplexSums sums{};
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    mma_half(sums.re[j], x.re, f.re_b[j][0], f.re_b[j][1]);
    mma_half(sums.im[j], plus, f.im_b[j][0], f.im_b[j][1]);
    mma_half(sums.re[j], minus, f.im_b[j][0], f.im_b[j][1]);
    mma_half(sums.im[j], x.im, f.re_b[j][0], f.re_b[j][1]);
  }
  return sums;
}
template <bool kConj>
__device__ __forceinline__ ComplexSums multiply_right(const ComplexTile& x, const SymmetricMatrix& f) {
  const uint32_t(&plus)[2][2] = kConj ? f.negative_b : f.im_b;
  const uint32_t(&minus)[2][2] = kConj ? f.im_b : f.negative_b;
  ComplexSums sums{};
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    mma_half(sums.re[j], x.re, f.re_b[j][0], f.re_b[j][1]);
    mma_half(sums.im[j], x.re, plus[j][0], plus[j][1]);
    mma_half(sums.re[j], x.im, minus[j][0], minus[j][1]);
    mma_half(sums.im[j], x.im, f.re_b[j][0], f.re_b[j][1]);
  }
  return sums;
}

/// Rows of 256 complex fp16 in shared memory, as a plane of real parts and one of imaginary parts. The 16-byte pieces
/// of a row are permuted so that neither eight rows at one piece nor one row at every second of sixteen pieces, which
/// is what the matrix loads below read, meet in a bank.
template <int Rows>
struct ComplexPlanes {
  static constexpr uint32_t kRowBytes = 512, kPlaneBytes = Rows * kRowBytes, kBytes = 2 * kPlaneBytes;

  __device__ __forceinline__ static uint32_t offset(uint32_t row, uint32_t piece) {
    const uint32_t permutation = (row << 1 & 6) | (row >> 2 & 1);
    return row * kRowBytes + ((piece ^ (piece >> 3 & 1) ^ permutation) << 4);
  }
  /// A lane's offset in the tile of rows [0, 16) and columns [16 block, 16 block + 16).
  __device__ __forceinline__ static uint32_t lane_as_tile(int lane, int block) {
    return offset(lane % 16, 2 * block + lane / 16);
  }
  /// A lane's offset for reading or writing a row as the transposed of a 16 x 16 tile: row r at columns [16 r, ...).
  __device__ __forceinline__ static uint32_t lane_in_row(int lane, int row) {
    return offset(row, 2 * (lane % 8 + lane / 16 * 8) + lane / 8 % 2);
  }

  __device__ __forceinline__ static void store(uint32_t address, const ComplexTile& tile) {
    store_matrices(address, tile.re);
    store_matrices(address + kPlaneBytes, tile.im);
  }
  /// From a lane_in_row address: the transposed tile. From a lane_as_tile address: b operands of the tile, columns
  /// [8 j, 8 j + 8) in registers 2 j and 2 j + 1.
  __device__ __forceinline__ static ComplexTile load_transposed(uint32_t address) {
    ComplexTile tile;
    cuda::load_transposed(tile.re, address);
    cuda::load_transposed(tile.im, address + kPlaneBytes);
    return tile;
  }
  __device__ __forceinline__ static void store_transposed(uint32_t address, const ComplexTile& tile) {
    cuda::store_transposed(address, tile.re);
    cuda::store_transposed(address + kPlaneBytes, tile.im);
  }
};

}  // namespace mara::kernels::cuda
