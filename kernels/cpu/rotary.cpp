// Rotary position embedding: one pass over the packed projection with a table of rotations by position.

#include <cmath>

#include "core/parallel.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

template <class C>
struct Rotation {
  C cosine, sine;
};

/// table[l, pair] = rotation by (first_position + l) * base^(-2 pair / rotary_dim). Sine and cosine are called for every
/// kBlock-th position; in between, rotations are multiplied, in double: an error of kBlock roundings.
template <class C>
void fill_table(const Rotary& args, int64_t length, Rotation<C>* table) {
  constexpr int64_t kBlock = 64;
  const int64_t pairs = args.rotary_dim / 2;
  const double direction = args.inverse ? -1 : 1;
  parallel_chunks(length, kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t pair = 0; pair < pairs; ++pair) {
      const double exponent = -2.0 * static_cast<double>(pair) / static_cast<double>(args.rotary_dim);
      const double step = direction * std::pow(args.base, exponent), first = static_cast<double>(args.first_position + begin) * step;
      const Rotation<double> by{std::cos(step), std::sin(step)};
      Rotation<double> r{std::cos(first), std::sin(first)};
      for (int64_t l = begin; l < end; ++l) {
        table[l * pairs + pair] = {static_cast<C>(r.cosine), static_cast<C>(r.sine)};
        r = {r.cosine * by.cosine - r.sine * by.sine, r.sine * by.cosine + r.cosine * by.sine};
      }
    }
  });
}

template <class T>
void run(Stream& stream, const Rotary& args) {
  using C = Compute<T>;
  const int64_t rows = args.x.size(0) * args.x.size(1), length = args.x.size(1), width = args.x.size(2);
  const int64_t pairs = args.rotary_dim / 2, head = width / 3 / args.heads;
  const auto table = stream.scratch<Rotation<C>>(length * pairs);
  fill_table<C>(args, length, table);
  parallel_chunks(rows, grain_for(width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* x = args.x.ptr<T>() + row * width;
      T* y = args.y.ptr<T>() + row * width;
      const Rotation<C>* rotations = table + row % length * pairs;
      for (int64_t h = 0; h < 2 * args.heads; ++h, x += head, y += head) {
        for (int64_t i = 0; i < pairs; ++i) {
          const C even = static_cast<C>(x[2 * i]), odd = static_cast<C>(x[2 * i + 1]);
          y[2 * i] = static_cast<T>(even * rotations[i].cosine - odd * rotations[i].sine);
          y[2 * i + 1] = static_cast<T>(even * rotations[i].sine + odd * rotations[i].cosine);
        }
        std::copy(x + args.rotary_dim, x + head, y + args.rotary_dim);
      }
      std::copy_n(x, width / 3, y);
    }
  });
}

}  // namespace

void rotary(Stream& stream, const Rotary& args) {
  dispatch_float(args.x.dtype, [&]<class T>() { run<T>(stream, args); });
}

}  // namespace mara::kernels::cpu
