#include "nn/init.h"

#include <xxhash.h>

#include <cmath>
#include <numbers>

#include "core/parallel.h"
#include "core/runtime.h"
#include "kernels/common/philox.h"

namespace mara::nn {
namespace {

// A number in (0, 1] and one in [0, 1), for Box and Muller's transform.
double above_zero(uint32_t bits) { return (static_cast<double>(bits) + 1) * 0x1p-32; }
double below_one(uint32_t bits) { return static_cast<double>(bits) * 0x1p-32; }

}  // namespace

Init Init::constant(double value) {
  return values([value](int64_t) { return value; });
}
Init Init::normal(double standard_deviation) {
  Init init;
  init.kind_ = Kind::normal;
  init.amount_ = standard_deviation;
  return init;
}
Init Init::uniform(double bound) {
  Init init;
  init.kind_ = Kind::uniform;
  init.amount_ = bound;
  return init;
}
Init Init::fan_in(int64_t fan_in) { return uniform(1.0 / std::sqrt(static_cast<double>(fan_in))); }
Init Init::values(std::function<double(int64_t)> value) {
  Init init;
  init.value_ = std::move(value);
  return init;
}

void Init::fill(const Tensor& target, uint64_t seed, std::string_view name) const {
  if (target.device().type == DeviceType::meta) return;
  const int64_t count = target.numel();
  const uint64_t stream = XXH3_64bits(name.data(), name.size());
  const uint64_t key = philox::key(seed, Purpose::initial_value);
  dispatch_float(target.dtype(), [&]<class T>() {
    std::vector<T> host(static_cast<size_t>(count));
    const auto store = [&](int64_t i, double value) {
      if (i < count) host[static_cast<size_t>(i)] = T(static_cast<Compute<T>>(value));
    };
    // One Philox block makes four numbers.
    parallel_chunks((count + 3) / 4, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        if (kind_ == Kind::values) {
          for (int64_t i = 4 * b; i < std::min(count, 4 * b + 4); ++i) store(i, value_(i));
          continue;
        }
        const philox::Block bits =
            philox::block(key, {static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32), static_cast<uint32_t>(stream),
                                static_cast<uint32_t>(stream >> 32)});
        if (kind_ == Kind::uniform) {
          for (int i = 0; i < 4; ++i) store(4 * b + i, amount_ * (2 * below_one(bits[i]) - 1));
          continue;
        }
        for (int pair = 0; pair < 2; ++pair) {
          const double radius = amount_ * std::sqrt(-2 * std::log(above_zero(bits[2 * pair])));
          const double angle = 2 * std::numbers::pi * below_one(bits[2 * pair + 1]);
          store(4 * b + 2 * pair, radius * std::cos(angle));
          store(4 * b + 2 * pair + 1, radius * std::sin(angle));
        }
      }
    });
    runtime(target.device()).copy_to_device(target.view().data, host.data(), host.size() * sizeof(T));
  });
}

}  // namespace mara::nn
