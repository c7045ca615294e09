// Matrix products by tiles of c. Tile and panel sizes keep every OpenBLAS call below its bound for small products,
// where its AVX-512 kernels read the operands in place: faster here, at every size, than its packing path. They want b
// with unit stride along n, so a transposed b is first rearranged into panels of tile columns (k n work against
// 2 m n k), and so is a bf16 one. Products with a single column, of which generating a token has one per channel, are
// sums of our own: a few vectors long, far below the cost of a call.
//
// An epilogue is a pass of its own. Its functions are bound by arithmetic, and applied tile by tile, in cache, they
// took a few per cent longer in all.

#include "core/parallel.h"
#include "kernels/common/epilogue.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/rows.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

constexpr int64_t kTileRows = 32, kTileColumns = 128, kPanel = 240;
constexpr int64_t kPackRows = 64;                  // rows of c from which rearranging b pays
constexpr int64_t kItems = 16;                     // pieces of work aimed at where c alone has fewer tiles
constexpr int64_t kSliceDepth = 1024;              // least k of a slice: each is a pass over the tile
constexpr int64_t kChunkFlops = int64_t{1} << 19;  // a few microseconds: more than starting a thread costs

int64_t divide_up(int64_t n, int64_t d) { return (n + d - 1) / d; }

// The size, at most `limit`, of equal pieces of n, rounded up to `multiple`.
int64_t balanced(int64_t n, int64_t limit, int64_t multiple) {
  const int64_t piece = divide_up(n, divide_up(n, limit));
  return std::min(limit, divide_up(piece, multiple) * multiple);
}

// How (m, n, k) is cut: tiles of c, and where these are few, slices of k that are summed in order afterwards.
struct Cut {
  int64_t columns, row_tiles, column_tiles, tiles, panel, slice, slices;

  Cut(int64_t batch, int64_t m, int64_t n, int64_t k)
      : columns(balanced(n, kTileColumns, 16)),
        row_tiles(divide_up(m, kTileRows)),
        column_tiles(divide_up(n, columns)),
        tiles(batch * row_tiles * column_tiles),
        panel(balanced(k, kPanel, 8)),
        slice(divide_up(divide_up(k, panel),
                        std::clamp<int64_t>(kItems / tiles, 1, std::max<int64_t>(1, k / kSliceDepth))) *
              panel),
        slices(divide_up(k, slice)) {}
};

// Last two axes of a View as BLAS takes them. An axis of size 1 may have any stride.
struct Layout {
  int64_t ld, batch_stride;
  bool transposed;

  explicit Layout(const View& x) : batch_stride(x.stride[0]), transposed(x.stride[2] != 1 && x.size(2) > 1) {
    const int row = transposed ? 2 : 1;
    ld = std::max(x.stride[row], x.size(3 - row));
  }
};

template <class T, class Out>
class Product {
 public:
  Product(Stream& stream, const Matmul& args)
      : args_(args),
        m_(args.c.size(1)),
        n_(args.c.size(2)),
        k_(args.a.size(2)),
        cut_(args.c.size(0), m_, n_, k_),
        a_(args.a),
        b_(args.b),
        packs_(!std::is_same_v<T, C> || (b_.transposed && m_ >= kPackRows)),
        packed_(stream.scratch<C>(packs_ ? packed_batches() * cut_.column_tiles * panel_size() : 0)),
        partial_(stream.scratch<C>(cut_.slices > 1 ? cut_.tiles * cut_.slices * tile_size() : 0)) {}

  void run() {
    if (packs_) pack();
    const int64_t flops = 2 * std::min(m_, kTileRows) * cut_.columns * cut_.slice;
    parallel_chunks(cut_.tiles * cut_.slices, grain_for(flops, kChunkFlops), [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) compute(item / cut_.slices, item % cut_.slices);
    });
    if (cut_.slices == 1) return;
    parallel_chunks(cut_.tiles, grain_for(cut_.slices * tile_size()), [&](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; ++tile) store(tile, partial_ + tile * cut_.slices * tile_size());
    });
  }

 private:
  using C = Compute<T>;

  // Place of a tile in c.
  struct Tile {
    int64_t batch, column_tile, row, column, rows, columns;
  };
  Tile locate(int64_t tile) const {
    const int64_t strip = tile / cut_.column_tiles, column_tile = tile % cut_.column_tiles;
    const int64_t row = strip % cut_.row_tiles * kTileRows, column = column_tile * cut_.columns;
    return {strip / cut_.row_tiles,
            column_tile,
            row,
            column,
            std::min(kTileRows, m_ - row),
            std::min(cut_.columns, n_ - column)};
  }

  int64_t tile_size() const { return kTileRows * cut_.columns; }
  int64_t panel_size() const { return k_ * cut_.columns; }
  int64_t packed_batches() const { return b_.batch_stride == 0 ? 1 : args_.b.size(0); }

  void pack() {
    constexpr int64_t kDepth = 64;
    const int64_t depths = divide_up(k_, kDepth);
    const int64_t pieces = packed_batches() * cut_.column_tiles * depths;
    parallel_chunks(pieces, grain_for(kDepth * cut_.columns), [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t panel = piece / depths, column_tile = panel % cut_.column_tiles;
        const int64_t p = piece % depths * kDepth, column = column_tile * cut_.columns;
        const int64_t depth = std::min(kDepth, k_ - p), columns = std::min(cut_.columns, n_ - column);
        const T* from = args_.b.ptr<T>() + panel / cut_.column_tiles * b_.batch_stride;
        C* to = packed_ + panel * panel_size() + p * cut_.columns;
        if (b_.transposed) {
          transpose(columns, depth, from + column * b_.ld + p, b_.ld, to, cut_.columns);
        } else {
          widen(depth, columns, from + p * b_.ld + column, b_.ld, to, cut_.columns);
        }
      }
    });
  }

  // Rows p to p + depth of b, in the columns of the tile.
  Block<C> b_panel(const Tile& t, int64_t p) const {
    if (packs_) {
      const int64_t batch = b_.batch_stride == 0 ? 0 : t.batch;
      const C* panel = packed_ + (batch * cut_.column_tiles + t.column_tile) * panel_size();
      return {panel + p * cut_.columns, cut_.columns};
    }
    const C* b = args_.b.ptr<C>() + t.batch * b_.batch_stride;
    return {b_.transposed ? b + t.column * b_.ld + p : b + p * b_.ld + t.column, b_.ld, b_.transposed};
  }

  // Columns p to p + depth of a, in the rows of the tile; bf16 is widened into `space` (kTileRows * kPanel).
  Block<C> a_panel(const Tile& t, int64_t p, int64_t depth, C* space) const {
    const T* a = args_.a.ptr<T>() + t.batch * a_.batch_stride;
    a += a_.transposed ? p * a_.ld + t.row : t.row * a_.ld + p;
    if constexpr (std::is_same_v<T, C>) {
      return {a, a_.ld, a_.transposed};
    } else {
      const int64_t rows = a_.transposed ? depth : t.rows, columns = a_.transposed ? t.rows : depth;
      widen(rows, columns, a, a_.ld, space, columns);
      return {space, columns, a_.transposed};
    }
  }

  void compute(int64_t tile, int64_t slice) const {
    const Tile t = locate(tile);
    const int64_t begin = slice * cut_.slice, end = std::min(k_, begin + cut_.slice);
    if (cut_.slices > 1) {
      multiply(t, begin, end, false, partial_ + (tile * cut_.slices + slice) * tile_size(), cut_.columns);
    } else if constexpr (std::is_same_v<Out, C>) {
      multiply(t, begin, end, begin_tile(t), c_row(t, 0), args_.c.stride[1]);
    } else {
      alignas(64) C sums[kTileRows * kTileColumns];
      multiply(t, begin, end, false, sums, cut_.columns);
      store(tile, sums);
    }
  }

  void multiply(const Tile& t, int64_t begin, int64_t end, bool accumulate, C* c, int64_t ldc) const {
    alignas(64) C space[std::is_same_v<T, C> ? 1 : kTileRows * kPanel];
    for (int64_t p = begin; p < end; p += cut_.panel) {
      const int64_t depth = std::min(cut_.panel, end - p);
      gemm<C>(t.rows, t.columns, depth, 1, a_panel(t, p, depth, space), b_panel(t, p), p > begin || accumulate, c, ldc);
    }
  }

  Out* c_row(const Tile& t, int64_t i) const {
    return args_.c.ptr<Out>() + t.batch * args_.c.stride[0] + (t.row + i) * args_.c.stride[1] + t.column;
  }
  C row_bias(const Tile& t, int64_t i) const { return args_.row_bias ? args_.row_bias.ptr<C>()[t.row + i] : C(0); }
  const C* column_bias(const Tile& t) const { return args_.col_bias ? args_.col_bias.ptr<C>() + t.column : nullptr; }

  // Writes the biases into the tile; returns whether the product is to be added to what is there.
  bool begin_tile(const Tile& t) const {
    if (!args_.row_bias && !args_.col_bias) return args_.accumulate;
    const C* bias = column_bias(t);
    for (int64_t i = 0; i < t.rows; ++i) {
      Out* c = c_row(t, i);
      const C first = row_bias(t, i);
      for (int64_t j = 0; j < t.columns; ++j) c[j] = bias ? first + bias[j] : first;
    }
    return true;
  }

  // c (+)= the sum of the tile's slices, in order, and the biases. The sum is formed in the first slice.
  void store(int64_t tile, C* partial) const {
    const Tile t = locate(tile);
    const C* bias = column_bias(t);
    for (int64_t i = 0; i < t.rows; ++i) {
      C* sum = partial + i * cut_.columns;
      Out* c = c_row(t, i);
      for (int64_t s = 1; s < cut_.slices; ++s) {
        const C* slice = sum + s * tile_size();
        for (int64_t j = 0; j < t.columns; ++j) sum[j] += slice[j];
      }
      if (args_.accumulate) {
        for (int64_t j = 0; j < t.columns; ++j) sum[j] += static_cast<C>(c[j]);
      }
      if (bias) {
        for (int64_t j = 0; j < t.columns; ++j) sum[j] += bias[j];
      }
      const C last = row_bias(t, i);
      for (int64_t j = 0; j < t.columns; ++j) c[j] = static_cast<Out>(sum[j] + last);
    }
  }

  const Matmul& args_;
  int64_t m_, n_, k_;
  Cut cut_;
  Layout a_, b_;
  bool packs_;
  Stream::Scratch<C> packed_, partial_;
};

// Whether c has one column and the rows of a and the column of b lie without gaps.
bool is_dots(const Matmul& args) { return args.c.size(2) == 1 && args.a.stride[2] == 1 && args.b.stride[1] == 1; }

template <class T, class Out>
void run_dots(const Matmul& args) {
  using C = Compute<T>;
  const int64_t m = args.c.size(1), k = args.a.size(2);
  parallel_chunks(args.c.size(0) * m, grain_for(2 * k, kChunkFlops), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t batch = item / m, row = item % m;
      const T* a = args.a.ptr<T>() + batch * args.a.stride[0] + row * args.a.stride[1];
      const T* b = args.b.ptr<T>() + batch * args.b.stride[0];
      Out& c = args.c.ptr<Out>()[batch * args.c.stride[0] + row * args.c.stride[1]];
      C sum = sum_over<C>(k, [&](int64_t p) { return static_cast<C>(a[p]) * static_cast<C>(b[p]); });
      if (args.accumulate) sum += static_cast<C>(c);
      if (args.row_bias) sum += args.row_bias.ptr<C>()[row];
      if (args.col_bias) sum += args.col_bias.ptr<C>()[0];
      c = static_cast<Out>(sum);
    }
  });
}

template <class T, class Out>
void run(Stream& stream, const Matmul& args) {
  if (is_dots(args)) return run_dots<T, Out>(args);
  Product<T, Out>(stream, args).run();
}

}  // namespace

void matmul(Stream& stream, const Matmul& args) {
  if (args.c.numel() == 0) return;
  if (args.epilogue != Epilogue::none) return multiply_then_apply(stream, args, matmul, unary_forward, unary_backward);
  dispatch_float(args.a.dtype, [&]<class T>() {
    if (args.c.dtype == args.a.dtype) {
      run<T, T>(stream, args);
    } else if constexpr (std::is_same_v<T, bf16>) {
      run<T, float>(stream, args);
    }
  });
}

}  // namespace mara::kernels::cpu
