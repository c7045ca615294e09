// Softmax attention, head by head: online softmax over tiles of queries x keys (Milakov and Gimelshein, 1805.02867;
// backward from the saved log-sum-exp, Dao et al., 2205.14135). A head's slices are first copied out of the packed
// layout, widened, k and v transposed where a product wants them so: O(L C) work against O(L^2 C).

#include <cmath>

#include "core/parallel.h"
#include "kernels/common/numeric.h"
#include "kernels/cpu/gemm.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

// A tile of scores is 24 KiB of f32; heads up to 160 wide stay below OpenBLAS's bound for small products.
constexpr int64_t kQueries = 48, kKeys = 128;

// The sizes of one head and where its slices lie.
struct Head {
  int64_t batch, head, length, width, heads;

  Head(int64_t index, const View& qkv, int64_t heads)
      : batch(index / heads), head(index % heads), length(qkv.size(1)), width(qkv.size(2) / 3 / heads), heads(heads) {}

  int64_t row() const { return heads * width; }
  int64_t size() const { return length * width; }
  /// The head's (L, C) slice of o or do, rows row() apart.
  template <class T>
  T* slice(const View& x) const {
    return x.ptr<T>() + (batch * length * heads + head) * width;
  }
  /// The same of q, k or v (part 0, 1 or 2) in a packed projection, rows 3 row() apart.
  template <class T>
  T* slice(const View& packed, int part) const {
    return packed.ptr<T>() + ((batch * length * 3 + part) * heads + head) * width;
  }
  template <class C>
  C* lse(const View& x) const {
    return x.ptr<C>() + (batch * heads + head) * length;
  }
};

/// Scores of [query, query + queries) x [key, key + keys).
struct Tile {
  int64_t query, queries, key, keys;
  bool causal;

  /// Keys of the tile that row i of it sees.
  int64_t visible(int64_t i) const { return causal ? std::clamp<int64_t>(query + i + 1 - key, 0, keys) : keys; }
};

/// Where the keys end that some of these queries see.
int64_t key_limit(int64_t query, int64_t queries, int64_t length, bool causal) {
  return causal ? std::min(length, query + queries) : length;
}

/// Calls body(head, scratch) for every head, in parallel, with `numbers` of scratch for each thread.
template <class C, class Body>
void for_each_head(Stream& stream, const View& qkv, int64_t heads, int64_t numbers, const Body& body) {
  numbers = whole_vectors(numbers);
  const auto scratch = stream.scratch<C>(numbers * thread_count());
  parallel_chunks(qkv.size(0) * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(Head(i, qkv, heads), scratch + numbers * omp_get_thread_num());
  });
}

template <class T>
void forward(Stream& stream, const AttentionForward& args) {
  using C = Compute<T>;
  const int64_t length = args.qkv.size(1), width = args.qkv.size(2) / 3 / args.heads;
  const int64_t numbers = 3 * length * width + kQueries * (width + kKeys + 1);
  for_each_head<C>(stream, args.qkv, args.heads, numbers, [&](const Head& head, C* scratch) {
    C *q = scratch, *kt = q + head.size(), *v = kt + head.size();
    C *o = v + head.size(), *scores = o + kQueries * width, *sums = scores + kQueries * kKeys;
    C* lse = head.lse<C>(args.lse);  // holds the running maximum until its row is done
    widen(length, width, head.slice<T>(args.qkv, 0), 3 * head.row(), q, width);
    transpose(length, width, head.slice<T>(args.qkv, 1), 3 * head.row(), kt, length);
    widen(length, width, head.slice<T>(args.qkv, 2), 3 * head.row(), v, width);

    for (int64_t query = 0; query < length; query += kQueries) {
      const int64_t queries = std::min(kQueries, length - query);
      const int64_t limit = key_limit(query, queries, length, args.causal);
      for (int64_t key = 0; key < limit; key += kKeys) {
        const Tile tile{query, queries, key, std::min(kKeys, limit - key), args.causal};
        gemm<C>(queries, tile.keys, width, static_cast<C>(args.scale), {q + query * width, width}, {kt + key, length},
                0, scores, kKeys);
        for (int64_t i = 0; i < queries; ++i) {
          C* row = scores + i * kKeys;
          const int64_t visible = tile.visible(i), padded = whole_vectors(visible);
          const C before = key > 0 ? lse[query + i] : kMinusInfinity<C>;
          C max = before, sum = 0;
          std::fill(row + visible, row + padded, kMinusInfinity<C>);
#pragma omp simd reduction(max : max)
          for (int64_t j = 0; j < padded; ++j) max = row[j] > max ? row[j] : max;
#pragma omp simd reduction(+ : sum)
          for (int64_t j = 0; j < padded; ++j) {
            row[j] = numeric::exp(row[j] - max);
            sum += row[j];
          }
          std::fill(row + padded, row + std::max(padded, tile.keys), C(0));
          if (key > 0) {
            const C shrink = std::exp(before - max);
            sum += sums[i] * shrink;
            for (int64_t c = 0; c < width; ++c) o[i * width + c] *= shrink;
          }
          lse[query + i] = max;
          sums[i] = sum;
        }
        gemm<C>(queries, width, tile.keys, 1, {scores, kKeys}, {v + key * width, width}, key > 0, o, width);
      }
      for (int64_t i = 0; i < queries; ++i) {
        T* out = head.slice<T>(args.o) + (query + i) * head.row();
        const C factor = 1 / sums[i];
        for (int64_t c = 0; c < width; ++c) out[c] = static_cast<T>(o[i * width + c] * factor);
        lse[query + i] += std::log(sums[i]);
      }
    }
  });
}

// With P the probabilities: dv = P^T do, dS = P (do v^T - D) where D = rowsum(do o), dq = scale dS k,
// dk = scale dS^T q.
template <class T>
void backward(Stream& stream, const AttentionBackward& args) {
  using C = Compute<T>;
  const int64_t length = args.qkv.size(1), width = args.qkv.size(2) / 3 / args.heads;
  const int64_t numbers = 8 * length * width + length + 2 * kQueries * kKeys;
  for_each_head<C>(stream, args.qkv, args.heads, numbers, [&](const Head& head, C* scratch) {
    const int64_t size = head.size();
    C *q = scratch, *k = q + size, *kt = k + size, *vt = kt + size, *d_o = vt + size;
    C* gradients[3] = {d_o + size, d_o + 2 * size, d_o + 3 * size};
    const auto [dq, dk, dv] = gradients;
    C *dots = dv + size, *scores = dots + length, *d_scores = scores + kQueries * kKeys;
    const C* lse = head.lse<C>(args.lse);
    const C scale = static_cast<C>(args.scale);
    widen(length, width, head.slice<T>(args.qkv, 0), 3 * head.row(), q, width);
    widen(length, width, head.slice<T>(args.qkv, 1), 3 * head.row(), k, width);
    transpose(length, width, head.slice<T>(args.qkv, 1), 3 * head.row(), kt, length);
    transpose(length, width, head.slice<T>(args.qkv, 2), 3 * head.row(), vt, length);
    widen(length, width, head.slice<T>(args.d_o), head.row(), d_o, width);
    for (int64_t l = 0; l < length; ++l) {
      const T* o = head.slice<T>(args.o) + l * head.row();
      C dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t c = 0; c < width; ++c) dot += static_cast<C>(o[c]) * d_o[l * width + c];
      dots[l] = dot;
    }
    std::fill_n(dq, 3 * size, C(0));

    for (int64_t query = 0; query < length; query += kQueries) {
      const int64_t queries = std::min(kQueries, length - query);
      const int64_t limit = key_limit(query, queries, length, args.causal);
      for (int64_t key = 0; key < limit; key += kKeys) {
        const Tile tile{query, queries, key, std::min(kKeys, limit - key), args.causal};
        const C *q_rows = q + query * width, *d_o_rows = d_o + query * width;
        gemm<C>(queries, tile.keys, width, scale, {q_rows, width}, {kt + key, length}, 0, scores, kKeys);
        gemm<C>(queries, tile.keys, width, 1, {d_o_rows, width}, {vt + key, length}, 0, d_scores, kKeys);
        for (int64_t i = 0; i < queries; ++i) {
          C *p = scores + i * kKeys, *ds = d_scores + i * kKeys;
          const int64_t visible = tile.visible(i), padded = whole_vectors(visible);
          const C row_lse = lse[query + i], dot = dots[query + i];
          std::fill(p + visible, p + padded, kMinusInfinity<C>);
          std::fill(ds + visible, ds + padded, C(0));
          for (int64_t j = 0; j < padded; ++j) {
            p[j] = numeric::exp(p[j] - row_lse);
            ds[j] = p[j] * (ds[j] - dot);
          }
          std::fill(p + padded, p + std::max(padded, tile.keys), C(0));
          std::fill(ds + padded, ds + std::max(padded, tile.keys), C(0));
        }
        gemm<C>(queries, width, tile.keys, scale, {d_scores, kKeys}, {k + key * width, width}, 1, dq + query * width,
                width);
        gemm<C>(tile.keys, width, queries, scale, {d_scores, kKeys, true}, {q_rows, width}, 1, dk + key * width, width);
        gemm<C>(tile.keys, width, queries, 1, {scores, kKeys, true}, {d_o_rows, width}, 1, dv + key * width, width);
      }
    }
    for (int part = 0; part < 3; ++part) {
      for (int64_t l = 0; l < length; ++l) {
        T* out = head.slice<T>(args.dqkv, part) + l * 3 * head.row();
        const C* from = gradients[part] + l * width;
        for (int64_t c = 0; c < width; ++c) out[c] = static_cast<T>(from[c]);
      }
    }
  });
}

}  // namespace

void attention_forward(Stream& stream, const AttentionForward& args) {
  dispatch_float(args.qkv.dtype, [&]<class T>() { forward<T>(stream, args); });
}

void attention_backward(Stream& stream, const AttentionBackward& args) {
  dispatch_float(args.qkv.dtype, [&]<class T>() { backward<T>(stream, args); });
}

}  // namespace mara::kernels::cpu
