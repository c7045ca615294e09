// Fused long convolution backward, for rows of C = 2 or 4 transforms. See fft_conv_fused.cuh, _forward.cu and
// _backward.cu.
//
// With the parts g_p and x_p of a row, p < C, and the filter's H_p = R(k_p - i k_(p-1)),
//   dx_p = Re R^-1(sum_{q >= p} conj(H_(q-p)) G_q),   c_p = Re R^-1(sum_{q <= p} H_(p-q) X_q),
//   dH_r = sum_b sum_{p >= r} G_p conj(X_(p-r)).
//
// A cluster takes a row at a time (fft_conv_cluster.cuh), and a contiguous range of rows in the order of channels. What
// a step's stages give is sent to other blocks while the next is at work: g enters, x enters, G, X and what they make,
// dx leaves, c leaves. The sums dH_r stay in registers for as long as a channel lasts. With C = 2 a warp has a k1 of
// its own, and dx is on its way before X is there. With C = 4 a pair of warps shares one: each transforms two parts of
// both, they meet, and each makes two of the dH_r, of dx and of c, which are as much work as the other's two. Warps
// stage the rows' columns that are theirs, and nothing of a row is read twice: of the four staged rows dy's, gate_out's
// and u's take turns, as the next dy is fetched where gate_out was, gate_out where u was and u where dy was.
//
// Bound by latency and instructions: 2700 of them a warp and row at C = 4 with gates. Issue slots are 45 % busy with
// the 16 warps of a multiprocessor, for which registers just suffice.

#include <algorithm>

#include "kernels/cuda/fft_conv_cluster.cuh"
#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/fft_conv_fused.h"

namespace mara::kernels::cuda::fused {
namespace {

constexpr int R = 2, kPart = 4096 * R, kThreads = 256;

struct BackwardArgs {
  Walk dy, u, gate_in, gate_out, du, dgate_in, dgate_out;
  FilterSpectra filters;
  float4* sums;
  Segments segments;
  int length;
};

/// Shared memory: the transform's, then staged halves of parts, of which a warp has columns of its own.
template <int C>
struct Layout {
  using Row = StagedRow<R, 1, 128>;
  static constexpr uint32_t kStaged = ClusterTransform<C>::kBytes, kBarriers = kStaged + 4 * Row::kBytes;
  static constexpr uint32_t kBytes = kBarriers + 8 * 8;
};

template <int C, bool kGateIn, bool kGateOut>
__global__ void __launch_bounds__(kThreads, 2) backward_kernel(const __grid_constant__ BackwardArgs args) {
#if __CUDA_ARCH__ >= 900
  using Transform = ClusterTransform<C>;
  using Planes = Sections<C>;
  using Row = typename Layout<C>::Row;
  constexpr int kBlocks = Planes::kBlocks;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t shared = shared_address(memory), barriers = shared + Layout<C>::kBarriers;
  const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);
  const int rank = static_cast<int>(cluster_rank()), cluster = static_cast<int>(blockIdx.x) / kBlocks;
  const int part = rank / 2;
  const auto arrived = [&](int plane) { return ReceiveBarrier{barriers + 8 * plane}; };
  const auto entered = [&](int z) { return SplitBarrier{barriers + 32 + 8 * z}; };
  const auto inverted = [&](int z) { return SplitBarrier{barriers + 48 + 8 * z}; };
  constexpr uint32_t kBackBytes = (kBlocks - 1) * Planes::kSection, kThereBytes = kBackBytes + (kBlocks - 1) * 16;
  if (threadIdx.x == 0) {
    for (int plane = 0; plane < 4; ++plane) {
      arrived(plane).init(1);
      arrived(plane).expect(plane < 2 ? kBackBytes : kThereBytes);
    }
    for (int z = 0; z < 2; ++z) entered(z).init(kThreads), inverted(z).init(kThreads);
    publish_barriers();
  }
  Transform transform(shared, threadIdx.x % 32, warp, rank);
  const int k1 = Planes::kRows * rank + transform.row_of_block(), near = transform.near(), far = transform.far();
  meet_in_cluster();

  const int batches = static_cast<int>(args.segments.batches);
  const int64_t begin = args.segments.begin(cluster), end = args.segments.begin(cluster + 1);
  uint32_t dy_row = shared + Layout<C>::kStaged, gate_out_row = dy_row + Row::kBytes,
           u_row = gate_out_row + Row::kBytes;
  const uint32_t gate_in_row = dy_row + 3 * Row::kBytes;
  // A warp copies what it alone reads, 32 bytes of each piece: there is no need to meet.
  const auto copy = [&](uint32_t to, const bfloat16* row) {
    const int lane = current_lane(), b = lane / 2 % 8, a = lane / 16, eight = lane % 2;
    const int copied = part * kPart + 256 * (2 * b + a) + 16 * transform.n2() + 8 * eight;
    const uint32_t copied_to = (16 * a + b) * Row::kStride + 32 * (transform.n2() % 8) + 16 * eight;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      copy_line_async_16(to + copied_to + 8 * i * Row::kStride, row + copied + 4096 * i,
                         copied + 4096 * i < args.length);
    }
  };
  const auto wait_for_all_but_last_copies = [] {
    wait_for_copies<1>();
    __syncwarp();
  };
  // Sections of plane `from` to the other blocks that they are for, 2048 bytes from each warp.
  const auto send_sections = [&](int from, int to) {
    const uint32_t at = warp * 2048, to_rank = at / Planes::kSection;
    if (current_lane() != 0 || to_rank == static_cast<uint32_t>(rank)) return;
    const uint32_t receiver = in_block(shared, to_rank);
    const uint32_t barrier = receiver + Layout<C>::kBarriers + 8 * to;
    send(receiver + (transform.plane(to) - shared) + rank * Planes::kSection + at % Planes::kSection,
         transform.plane(from) + at, 2048, barrier);
    if (to >= 2 && at % Planes::kSection == 0) {
      send_four(receiver + (transform.exponents(from) - shared) + 16 * rank,
                load_four(transform.entered_exponents(from)), barrier);
    }
  };
  const auto meet_pair = [&] { asm volatile("bar.sync %0, 64;" ::"r"(1 + warp % 4) : "memory"); };

  int64_t d = begin / batches;
  int b = static_cast<int>(begin % batches);
  bfloat16 *dy = args.dy.rows.at(d, b), *gate_out = args.gate_out.rows.at(d, b);
  bfloat16 *u = args.u.rows.at(d, b), *gate_in = args.gate_in.rows.at(d, b);
  copy(dy_row, dy);
  if constexpr (kGateOut) copy(gate_out_row, gate_out);
  commit_copies();
  copy(u_row, u);
  if constexpr (kGateIn) copy(gate_in_row, gate_in);
  commit_copies();
  // dH_r of r = near and far.
  TileSum sums[2]{};
  const uint32_t turns = static_cast<uint32_t>(end - begin);
  for (uint32_t turn = 0; turn < turns; ++turn) {
    const bool last = b + 1 == batches, more = turn + 1 < turns;
    args.dy.move(dy, last), args.u.move(u, last), args.gate_out.move(gate_out, last), args.gate_in.move(gate_in, last);
    wait_for_all_but_last_copies();
    transform.renew();
    transform.template enter<kGateOut>(0, dy_row, gate_out_row);
    transform.keep_exponent(0);
    fence_sends();
    entered(0).arrive();
    if (more) copy(gate_out_row, dy);
    commit_copies();
    entered(0).wait(turn);
    send_sections(0, 2);
    wait_for_all_but_last_copies();
    transform.template enter<kGateIn>(1, u_row, gate_in_row);
    transform.keep_exponent(1);
    fence_sends();
    entered(1).arrive();
    if (more) {
      if constexpr (kGateOut && !kGateIn) copy(u_row, gate_out);
      if constexpr (!kGateOut) copy(dy_row, u);
    }
    if constexpr (!kGateIn) commit_copies();
    entered(1).wait(turn);
    send_sections(1, 3);

    transform.renew();
    const int lane = current_lane();
    const uint4* const filters = args.filters.values + d * (C * 1024 * R) + k1 * 64 + lane;
    const auto filter = [&](int r) { return load_tile(filters + r * (1024 * R)); };
    float scales[2], filter_scale;
    int exponent;
    const auto await = [&](int z) {
      arrived(2 + z).wait(turn);
      exponent = transform.row_exponent(z);
      scales[z] = power_of_two(exponent);
    };
    const auto spectrum = [&](int z, int p) {
      return transform.spectrum(transform.row(z, p), transform.factors(z, p, exponent));
    };
    const auto invert = [&](int z, int p, const ComplexTile& one, int q, const ComplexTile& two) {
      transform.invert(transform.row(z, p), one), transform.invert(transform.row(z, q), two);
      fence_sends();
      inverted(z).arrive();
    };
    const auto load_filter_scale = [&] {
      asm volatile("ld.global.nc.f32 %0, [%1];"
                   : "=f"(filter_scale)
                   : "l"(__cvta_generic_to_global(args.filters.scale + d)));
    };
    const auto send_back = [&](int z) {
      inverted(z).wait(turn);
      send_sections(2 + z, z);
    };
    ComplexTile one, two;
    if constexpr (C == 2) {
      // All of a k1 is this warp's: dx is made and leaves before x is looked at.
      ComplexTile h0 = filter(0), h1 = filter(1);
      await(0);
      const ComplexTile g0 = rounded(spectrum(0, 0)), g1 = rounded(spectrum(0, 1));
      one = g0, two = g1;
      multiply<true>(one, h0), multiply_add<true>(one, g1, h1), multiply<true>(two, h0);
      invert(0, 0, one, 1, two);
      load_filter_scale();
      await(1);
      ComplexSums x = spectrum(1, 0);
      send_back(0);
      const float scale = scales[0] * scales[1];
      sums[0].add(x, g0, scale), sums[1].add(x, g1, scale);
      one = two = rounded(x);
      x = spectrum(1, 1);
      if constexpr (!kGateOut) arrive_in_cluster();
      sums[0].add(x, g1, scale);
      if constexpr (kGateOut) {
        h0 = filter(0), h1 = filter(1);
        multiply<false>(one, h0), multiply<false>(two, h1), multiply_add<false>(two, rounded(x), h0);
        invert(1, 0, one, 1, two);
        send_back(1);
      }
    } else {
#pragma unroll
      for (int z = 0; z < 2; ++z) {
        await(z);
        one = rounded(spectrum(z, near)), two = rounded(spectrum(z, far));
        __syncwarp();
        transform.keep(z, near, one), transform.keep(z, far, two);
      }
      meet_pair();
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int r = j == 0 ? near : far;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float re[4] = {}, im[4] = {};
#pragma unroll
          for (int p = 0; p < (j == 0 ? C : C / 2); ++p) {
            if (p >= C - r) continue;
            add_products(re, im, transform.kept_half(0, r + p, h), transform.kept_half(1, p, h));
          }
          sums[j].add(h, re, im, scales[0] * scales[1]);
        }
      }
      // Two parts of dx or c, for the latter counted from the last on: m = near and far.
      const auto convolve = [&](auto of_x) {
        constexpr int z = of_x;
        const auto kept = [&](int m) { return transform.kept(z, z == 0 ? m : C - 1 - m); };
        ComplexTile h = filter(0);
        one = kept(near), two = kept(far);
        multiply<z == 0>(one, h), multiply<z == 0>(two, h);
#pragma unroll
        for (int r = 1; r < C; ++r) {
          if (r == C - 1 && near == 1) continue;
          h = filter(r);
          multiply_add<z == 0>(one, kept(near + r), h);
          if (r == 1 && near == 1) multiply_add<z == 0>(two, kept(far + 1), h);
        }
        meet_pair();
      };
      convolve(std::integral_constant<int, 0>());
      invert(0, near, one, far, two);
      load_filter_scale();
      if constexpr (kGateOut) convolve(std::integral_constant<int, 1>());
      send_back(0);
      if constexpr (kGateOut) {
        invert(1, far, one, near, two);
        send_back(1);
      }
    }
    if (threadIdx.x == 0) arrived(2).expect(kThereBytes), arrived(3).expect(kThereBytes);

    const auto out = [&](const Walk& walk) { return walk.rows.at(d, b) + part * kPart; };
    filter_scale *= 1.0f / R;
    transform.renew();
    const StorePlace<R> place(args.length - part * kPart, transform.n2(), current_lane());
    arrived(0).wait(turn);
    if (threadIdx.x == 0) arrived(0).expect(kBackBytes);
    {
      const float scale = scales[0] * filter_scale;
      bfloat16 *const du = out(args.du), *const dgate_in = out(args.dgate_in);
      const StorePlace<R> of_du = place.unless(!args.du.present()), of_gate = place.unless(!args.dgate_in.present());
      transform.leave(0, [&](int a, int h, const float(&dx)[4]) {
        const uint32_t at = transform.fours(a, h);
        if constexpr (kGateIn) {
          const uint2 gate = load_two(gate_in_row + at), u = load_two(u_row + at);
          of_du.store(du, a, h, scaled(dx, scale, gate));
          of_gate.store(dgate_in, a, h, scaled(dx, scale, u));
        } else {
          of_du.store(du, a, h, scaled(dx, scale));
        }
      });
    }
    if constexpr (kGateIn) {
      __syncwarp();
      if (more) {
        if constexpr (kGateOut) copy(u_row, gate_out);
        copy(gate_in_row, gate_in);
      }
      commit_copies();
    }
    if constexpr (kGateOut) {
      arrived(1).wait(turn);
      if (threadIdx.x == 0) arrived(1).expect(kBackBytes);
      const float scale = scales[1] * filter_scale;
      bfloat16* const dgate_out = out(args.dgate_out);
      const StorePlace<R> of_gate = place.unless(!args.dgate_out.present());
      transform.leave(1, [&](int a, int h, const float(&c)[4]) {
        of_gate.store(dgate_out, a, h, scaled(c, scale, load_two(dy_row + transform.fours(a, h))));
      });
      __syncwarp();
      if (more) copy(dy_row, u);
      commit_copies();
    }
    // No section of x comes back to say that it is free. With C = 4 those of dx do: they left after the last use of x.
    if constexpr (C == 2 && !kGateOut) wait_in_cluster();
    const uint32_t free_row = dy_row;
    dy_row = gate_out_row, gate_out_row = u_row, u_row = free_row;
    if (last || !more) {
      float4* const segment = args.sums + (d + cluster) * (C * 2048 * R) + k1 * 128 + current_lane();
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int r = j == 0 ? near : far;
#pragma unroll
        for (int q = 0; q < 4; ++q) segment[r * (2048 * R) + q * 32] = sums[j].q[q];
        sums[j] = {};
      }
    }
    d += last, b = last ? 0 : b + 1;
  }
  meet_in_cluster();
#endif
}

/// A launch of clusters of 2 C blocks.
template <int C>
struct ClusterLaunch {
  cudaLaunchConfig_t config{};

  explicit ClusterLaunch(int clusters, cudaStream_t stream = nullptr) {
    constexpr unsigned kBlocks = Sections<C>::kBlocks;
    size_.id = cudaLaunchAttributeClusterDimension;
    size_.val.clusterDim = {kBlocks, 1, 1};
    config.gridDim = kBlocks * static_cast<unsigned>(clusters), config.blockDim = kThreads;
    config.dynamicSmemBytes = Layout<C>::kBytes, config.stream = stream;
    config.attrs = &size_, config.numAttrs = 1;
  }
  ClusterLaunch(const ClusterLaunch&) = delete;

  template <class Kernel>
  static void prepare(Kernel* kernel) {
    constexpr int kBytes = static_cast<int>(Layout<C>::kBytes);
    MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  }

 private:
  cudaLaunchAttribute size_{};
};

template <int C, bool kGateIn, bool kGateOut>
void launch(Stream& stream, const BackwardArgs& args) {
  const auto kernel = backward_kernel<C, kGateIn, kGateOut>;
  ClusterLaunch<C>::prepare(kernel);
  const ClusterLaunch<C> launch(args.segments.parts, native(stream));
  MARA_CUDA(cudaLaunchKernelEx(&launch.config, kernel, args));
  launched("fft_conv_backward: fused, long");
}

/// How many clusters a GPU has room for.
template <int C>
int most_clusters() {
  static const int most = [] {
    const auto kernel = backward_kernel<C, true, true>;
    ClusterLaunch<C>::prepare(kernel);
    const ClusterLaunch<C> one(1);
    int clusters = 0;
    MARA_CUDA(cudaOccupancyMaxActiveClusters(&clusters, kernel, &one.config));
    return std::max(clusters, 1);
  }();
  return most;
}

template <int C>
void backward_in_parts(Stream& stream, const FftConvBackward& a) {
  const int64_t channels = a.u.size(0), batches = a.u.size(1), rows = channels * batches;
  const auto values = stream.scratch<uint4>(channels * C * 1024 * R);
  const auto scale = stream.scratch<float>(channels);
  transform_filters<R, C>(stream, Filters::of(a), values, scale);
  const Segments segments{rows, batches, static_cast<int>(std::min<int64_t>(rows, most_clusters<C>()))};
  const auto sums = stream.scratch<float4>(segments.count() * C * 2048 * R);
  const BackwardArgs args{.dy = Walk(a.dy, 1),
                          .u = Walk(a.u, 1),
                          .gate_in = Walk(a.gate_in, 1),
                          .gate_out = Walk(a.gate_out, 1),
                          .du = Walk(a.du, 1),
                          .dgate_in = Walk(a.dgate_in, 1),
                          .dgate_out = Walk(a.dgate_out, 1),
                          .filters = {values, scale},
                          .sums = sums,
                          .segments = segments,
                          .length = static_cast<int>(a.u.size(2))};
  if (a.gate_in) {
    a.gate_out ? launch<C, true, true>(stream, args) : launch<C, true, false>(stream, args);
  } else {
    a.gate_out ? launch<C, false, true>(stream, args) : launch<C, false, false>(stream, args);
  }
  if (a.dk || a.dskip) {
    transform_gradients<R, C>(stream, sums, segments, a);
  }
}

}  // namespace

void backward_long(Stream& stream, const FftConvBackward& args) {
  args.u.size(2) <= 2 * kPart ? backward_in_parts<2>(stream, args) : backward_in_parts<4>(stream, args);
}

}  // namespace mara::kernels::cuda::fused
