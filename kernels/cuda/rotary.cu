// Rotary position embedding: one pass over the packed projection (for_each.cuh), bound by memory, with a table of
// rotations by position, which stays in the cache. Its angles are formed in f64: in f32 a position of 10^4 times a
// frequency is off by 10^-3.

#include "kernels/cuda/for_each.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

struct Rotation {
  float cosine, sine;
};

// table[l, pair] = rotation by (first_position + l) * base^(-2 pair / rotary_dim)
struct Table {
  Rotation* table;
  Divisor pairs;
  double base, direction;
  int64_t first_position;

  struct Values {};
  __device__ Values read(int64_t) const { return {}; }
  __device__ void write(int64_t item, Values) const {
    const auto [l, pair] = pairs(item);
    const double frequency = pow(base, -static_cast<double>(pair) / static_cast<double>(pairs.divisor()));
    double sine, cosine;
    sincos(direction * static_cast<double>(first_position + l) * frequency, &sine, &cosine);
    table[item] = {static_cast<float>(cosine), static_cast<float>(sine)};
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
    const Table op{table, Divisor(pairs), args.base, args.inverse ? -1.0 : 1.0, args.first_position};
    for_each<1>(stream, "rotary", length * pairs, op);
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
