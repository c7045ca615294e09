// Rotary position embedding: one pass over the packed projection (for_each.cuh), bound by memory, with a table of
// rotations by position, which stays in the cache. Its angles are formed and reduced in f64: in f32 a position of 10^4
// times a frequency is off by 10^-3. That is six operations on the units that many GPUs have few of; a frequency is
// dozens and shared by kPositions entries, sine and cosine of the reduced angle are f32.

#include <cmath>
#include <numbers>

#include "kernels/cuda/for_each.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

struct Rotation {
  float cosine, sine;
};

constexpr int64_t kPositions = 16;

// table[l, pair] = rotation by (first_position + l) * base^(-2 pair / rotary_dim), kPositions of a pair an item
struct Table {
  Rotation* table;
  Divisor pairs;
  int64_t length, first_position;
  double log2_base, direction;

  struct Values {};
  __device__ Values read(int64_t) const { return {}; }
  __device__ void write(int64_t item, Values) const {
    const auto [piece, pair] = pairs(item);
    const double exponent = -static_cast<double>(pair) / static_cast<double>(pairs.divisor());
    const double half_turns = direction * std::numbers::inv_pi * exp2(exponent * log2_base);  // for each position
    const int64_t begin = piece * kPositions, end = min(length, begin + kPositions);
#pragma unroll 4
    for (int64_t l = begin; l < end; ++l) {
      const double angle = static_cast<double>(first_position + l) * half_turns;
      Rotation by;
      sincospif(static_cast<float>(angle - 2 * rint(0.5 * angle)), &by.sine, &by.cosine);
      table[l * pairs.divisor() + pair] = by;
    }
  }
};

// N elements of a head an item, the last of a head may be short. Heads are those of q, of k, then of v.
template <class T, int N>
struct Rotating {
  const T* x;
  T* y;
  const Rotation* table;
  Divisor head_items, heads, length;  // heads: 3 H
  int64_t head, rotary_dim;
  bool vector;  // also: rotary_dim is a multiple of N

  struct Place {
    int64_t at;             // in x and y
    int64_t column;         // in the head
    int64_t rotated;        // entries from there on, to be rotated
    const Rotation* table;  // of the first pair
  };
  __device__ Place place(int64_t item) const {
    const Divisor::Split in_head = head_items(item), in_row = heads(in_head.quotient);
    const int64_t column = in_head.remainder * N;
    const bool turns = in_row.remainder < heads.divisor() / 3 * 2;
    const int64_t rotated = turns ? rotary_dim - column : 0;
    const Rotation* first = table + (length(in_row.quotient).remainder * rotary_dim + column) / 2;
    return {in_head.quotient * head + column, column, rotated, first};
  }

  struct Values {
    Loaded<T, N> x;
    Pack<Rotation, N / 2> by;
  };
  __device__ Values read(int64_t item) const {
    const Place p = place(item);
    Values values;
    values.x = read_some<N>(x + p.at, head - p.column, vector);
    if (vector) {
      if (p.rotated > 0) values.by = *reinterpret_cast<const Pack<Rotation, N / 2>*>(p.table);
    } else {
#pragma unroll
      for (int i = 0; i < N / 2; ++i) {
        if (2 * i < p.rotated) values.by.v[i] = p.table[i];
      }
    }
    return values;
  }
  __device__ void write(int64_t item, const Values& values) const {
    const Place p = place(item);
    float out[N];
#pragma unroll
    for (int i = 0; i < N; i += 2) {
      const float even = values.x[i], odd = values.x[i + 1];
      const Rotation by = values.by.v[i / 2];
      out[i] = i < p.rotated ? even * by.cosine - odd * by.sine : even;
      out[i + 1] = i < p.rotated ? even * by.sine + odd * by.cosine : odd;
    }
    write_some<N>(y + p.at, out, head - p.column, vector);
  }
};

}  // namespace

void rotary(Stream& stream, const Rotary& args) {
  const int64_t rows = args.x.size(0) * args.x.size(1), length = args.x.size(1);
  const int64_t head = args.x.size(2) / 3 / args.heads, pairs = args.rotary_dim / 2;
  if (args.x.numel() == 0) return;
  const auto table = stream.scratch<Rotation>(length * pairs);
  if (pairs > 0) {
    const Table op{table, Divisor(pairs), length, args.first_position, std::log2(args.base), args.inverse ? -1.0 : 1.0};
    for_each<1>(stream, "rotary", ceil_div(length, kPositions) * pairs, op);
  }
  dispatch(args.x.dtype, [&]<class T>() {
    constexpr int N = kItem<T>;
    const T* x = args.x.ptr<T>();
    T* y = args.y.ptr<T>();
    const int64_t head_items = ceil_div(head, N);
    const bool vector = head % N == 0 && args.rotary_dim % N == 0 && aligned(16, x, y);
    const Rotating<T, N> op{
        x,     y, table.get(), Divisor(head_items), Divisor(3 * args.heads), Divisor(length), head, args.rotary_dim,
        vector};
    for_each(stream, "rotary", rows * 3 * args.heads * head_items, op);
  });
}

}  // namespace mara::kernels::cuda
