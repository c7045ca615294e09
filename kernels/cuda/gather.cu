// Rows by index, and the sums of rows that are its gradient. Both are bound by memory (for_each.cuh).
//
// Backward: the index is sorted (by CUB, stably), so that every row of dx knows its terms, in order; a thread adds them
// up for 16 bytes of a row. Where a row has very many terms (a frequent token), threads would wait for it: therefore
// the sorted order is cut into pieces of 64, pieces that belong to one row as a whole are added up first, in parallel,
// and the row takes their sums. Which terms these are depends on the index alone, so sums are deterministic.

#include <bit>
#include <cub/device/device_radix_sort.cuh>

#include "kernels/cuda/for_each.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

// y[o, m, i] = x[o, index[m], i], N elements of a row an item.
template <class X, class Y, int N>
struct Gathering {
  const X* x;
  const int32_t* index;
  Y* y;
  Divisor row_items, m;
  int64_t n;

  using Values = Loaded<X, N>;
  __device__ Values read(int64_t item) const {
    const Divisor::Split in_row = row_items(item), in_index = m(in_row.quotient);
    const int64_t row = in_index.quotient * n + index[in_index.remainder];
    return read_some<N>(x + (row * row_items.divisor() + in_row.remainder) * N, N, N > 1);
  }
  __device__ void write(int64_t item, const Values& values) const {
    float out[N];
#pragma unroll
    for (int j = 0; j < N; ++j) out[j] = values[j];
    store(y + item * N, out);
  }
};

// A place in the index with what it holds, as one number: in the sorted order, by value and then by place.
struct Entry {
  uint64_t bits;

  static constexpr int kPlaceBits = 32;
  __device__ static Entry of(int32_t value, int64_t place) {
    return {static_cast<uint64_t>(value) << kPlaceBits | static_cast<uint64_t>(place)};
  }
  __device__ int64_t value() const { return static_cast<int64_t>(bits >> kPlaceBits); }
  __device__ int64_t place() const { return static_cast<int64_t>(bits & 0xffffffffu); }
};

struct MakeEntries {
  const int32_t* index;
  Entry* entries;

  using Values = int32_t;
  __device__ Values read(int64_t m) const { return index[m]; }
  __device__ void write(int64_t m, Values value) const { entries[m] = Entry::of(value, m); }
};

// start[v] = how many entries have a value below v
struct FindStarts {
  const Entry* entries;
  int64_t m;
  int64_t* start;

  using Values = int64_t;
  __device__ Values read(int64_t value) const {
    int64_t first = 0;
    for (int64_t count = m; count > 0;) {
      const int64_t half = count / 2;
      const bool below = entries[first + half].value() < value;
      first += below ? half + 1 : 0;
      count = below ? count - half - 1 : half;
    }
    return first;
  }
  __device__ void write(int64_t value, Values first) const { start[value] = first; }
};

constexpr int64_t kPiece = 64;  // entries

// sum += row(i)[0 .. N) for begin <= i < end, in order. Several loads are under way at once; behind the end the last
// row is loaded again, which costs less than a branch before every load.
template <int N, class Row>
__device__ __forceinline__ void add_rows(float (&sum)[N], int64_t begin, int64_t end, const Row& row) {
  constexpr int kUnroll = 8;
  for (int64_t i = begin; i < end; i += kUnroll) {
    std::remove_cvref_t<decltype(row(i))> loaded[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) loaded[u] = row(min(i + u, end - 1));
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
      for (int j = 0; j < N; ++j) sum[j] = i + u < end ? sum[j] + widen(loaded[u].v[j]) : sum[j];
    }
  }
}

// Rows of dy in the sorted order, for N columns of one of the `outer` parts.
template <class Y, int N>
struct Terms {
  const Entry* entries;
  const Y* dy;  // its first row, at those columns
  int64_t inner;

  __device__ Pack<Y, N> operator()(int64_t i) const {
    return *reinterpret_cast<const Pack<Y, N>*>(dy + entries[i].place() * inner);
  }
};

// piece_sums[o, piece, i] = sum over the entries of a piece, where they have one value; else left as it is.
template <class Y, int N>
struct SumPieces {
  const Entry* entries;
  const Y* dy;
  float* piece_sums;
  Divisor row_items, pieces;
  int64_t m;

  struct Values {
    float sum[N];
    bool whole;
  };
  __device__ Values read(int64_t item) const {
    const Divisor::Split in_row = row_items(item), in_part = pieces(in_row.quotient);
    const int64_t first = in_part.remainder * kPiece, inner = row_items.divisor() * N;
    Values values{{}, entries[first].value() == entries[first + kPiece - 1].value()};
    if (values.whole) {
      const Y* from = dy + in_part.quotient * m * inner + in_row.remainder * N;
      add_rows(values.sum, first, first + kPiece, Terms<Y, N>{entries, from, inner});
    }
    return values;
  }
  __device__ void write(int64_t item, const Values& values) const {
    if (values.whole) store(piece_sums + item * N, values.sum);
  }
};

// dx[o, v, i] (+)= sum over the entries with value v
template <class X, class Y, int N>
struct SumRows {
  const Entry* entries;
  const int64_t* start;
  const Y* dy;
  const float* piece_sums;
  X* dx;
  Divisor row_items, n;
  int64_t m;
  bool accumulate;

  struct Values {
    float sum[N];
    bool write;
  };
  __device__ Values read(int64_t item) const {
    const Divisor::Split in_row = row_items(item), in_part = n(in_row.quotient);
    const int64_t begin = start[in_part.remainder], end = start[in_part.remainder + 1];
    const int64_t inner = row_items.divisor() * N, column = in_row.remainder * N;
    const int64_t first_piece = ceil_div(begin, kPiece), last_piece = end / kPiece;
    const Terms<Y, N> terms{entries, dy + in_part.quotient * m * inner + column, inner};
    Values values{{}, begin < end || !accumulate};
    const bool cut = first_piece < last_piece;
    add_rows(values.sum, begin, cut ? first_piece * kPiece : end, terms);
    if (cut) {
      const float* pieces = piece_sums + in_part.quotient * (m / kPiece) * inner + column;
      add_rows(values.sum, first_piece, last_piece,
               [&](int64_t piece) { return *reinterpret_cast<const Pack<float, N>*>(pieces + piece * inner); });
      add_rows(values.sum, last_piece * kPiece, end, terms);
    }
    return values;
  }
  __device__ void write(int64_t item, const Values& values) const {
    if (!values.write) return;
    X* to = dx + item * N;
    float out[N] = {};
    if (accumulate) load(to, out);
#pragma unroll
    for (int j = 0; j < N; ++j) out[j] += values.sum[j];
    store(to, out);
  }
};

// entries, sorted; n: how many values there may be
void sort(Stream& stream, Entry* entries, Entry* sorted, int64_t m, int64_t n) {
  const auto* keys = reinterpret_cast<const uint64_t*>(entries);
  auto* sorted_keys = reinterpret_cast<uint64_t*>(sorted);
  const int end_bit = Entry::kPlaceBits + std::max(1, static_cast<int>(std::bit_width(static_cast<uint64_t>(n - 1))));
  size_t bytes = 0;
  const auto run = [&](void* temporary) {
    MARA_CUDA(cub::DeviceRadixSort::SortKeys(temporary, bytes, keys, sorted_keys, m, Entry::kPlaceBits, end_bit,
                                             native(stream)));
  };
  run(nullptr);  // asks for the bytes
  const auto temporary = stream.scratch<uint8_t>(static_cast<int64_t>(bytes));
  run(temporary);
}

}  // namespace

void gather_forward(Stream& stream, const GatherForward& args) {
  const int64_t n = args.x.size(1), inner = args.x.size(2), m = args.index.numel();
  if (args.y.numel() == 0) return;
  dispatch(args.x.dtype, [&]<class X>() {
    dispatch(args.y.dtype, [&]<class Y>() {
      const X* x = args.x.ptr<X>();
      Y* y = args.y.ptr<Y>();
      const auto run = [&]<int N>() {
        for_each(stream, "gather_forward", args.y.numel() / N,
                 Gathering<X, Y, N>{x, args.index.ptr<int32_t>(), y, Divisor(inner / N), Divisor(m), n});
      };
      constexpr int N = kItem<X, Y>;
      inner % N == 0 && aligned(16, x, y) ? run.template operator()<N>() : run.template operator()<1>();
    });
  });
}

void gather_backward(Stream& stream, const GatherBackward& args) {
  const int64_t outer = args.dx.size(0), n = args.dx.size(1), inner = args.dx.size(2), m = args.index.numel();
  if (args.dx.numel() == 0) return;
  const auto start = stream.scratch<int64_t>(n + 1);
  const auto entries = stream.scratch<Entry>(m);
  {
    const auto unsorted = stream.scratch<Entry>(m);
    for_each(stream, "gather_backward", m, MakeEntries{args.index.ptr<int32_t>(), unsorted});
    if (m > 0) sort(stream, unsorted, entries, m, n);
  }
  for_each(stream, "gather_backward", n + 1, FindStarts{entries, m, start});
  const int64_t pieces = m / kPiece;
  const auto piece_sums = stream.scratch<float>(outer * pieces * inner);
  dispatch(args.dy.dtype, [&]<class Y>() {
    dispatch(args.dx.dtype, [&]<class X>() {
      const Y* dy = args.dy.ptr<Y>();
      X* dx = args.dx.ptr<X>();
      const auto run = [&]<int N>() {
        const Divisor row_items(inner / N);
        if (pieces > 0) {
          for_each<1>(stream, "gather_backward", outer * pieces * (inner / N),
                      SumPieces<Y, N>{entries, dy, piece_sums, row_items, Divisor(pieces), m});
        }
        for_each<1>(stream, "gather_backward", outer * n * (inner / N),
                    SumRows<X, Y, N>{entries, start, dy, piece_sums, dx, row_items, Divisor(n), m, args.accumulate});
      };
      constexpr int N = kItem<X, Y>;
      inner % N == 0 && aligned(16, dy, dx) ? run.template operator()<N>() : run.template operator()<1>();
    });
  });
}

}  // namespace mara::kernels::cuda
