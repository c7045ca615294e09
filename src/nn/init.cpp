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
  init.scale_ = standard_deviation;
  return init;
}
Init Init::uniform(double low, double high) {
  Init init;
  init.kind_ = Kind::uniform;
  init.low_ = low;
  init.scale_ = high - low;
  return init;
}
Init Init::fan_in(int64_t fan_in) { return uniform(1.0 / std::sqrt(static_cast<double>(fan_in))); }
Init Init::values(std::function<double(int64_t)> value) {
  Init init;
  init.value_ = std::move(value);
  return init;
}

Init Init::times(std::function<double(int64_t)> factor) const {
  Init out = *this;
  out.factor_ = std::move(factor);
  return out;
}

Init Init::drawn(Draw draw) {
  Init init;
  init.kind_ = Kind::drawn;
  init.draw_ = std::move(draw);
  return init;
}

template <class Store>
void Init::generate(int64_t count, uint64_t seed, std::string_view name, const Store& store) const {
  const auto put = [&](int64_t i, double value) {
    if (i < count) store(i, factor_ ? value * factor_(i) : value);
  };
  if (kind_ == Kind::drawn) {
    const std::vector<double> all = draw_(count, seed, name);
    MARA_ASSERT(static_cast<int64_t>(all.size()) == count);
    for (int64_t i = 0; i < count; ++i) put(i, all[static_cast<size_t>(i)]);
    return;
  }
  const uint64_t stream = XXH3_64bits(name.data(), name.size());
  const uint64_t key = philox::key(seed, Purpose::initial_value);
  // One Philox block makes four numbers.
  parallel_chunks((count + 3) / 4, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      if (kind_ == Kind::values) {
        for (int64_t i = 4 * b; i < std::min(count, 4 * b + 4); ++i) put(i, value_(i));
        continue;
      }
      const philox::Block bits =
          philox::block(key, {static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32), static_cast<uint32_t>(stream),
                              static_cast<uint32_t>(stream >> 32)});
      if (kind_ == Kind::uniform) {
        for (int i = 0; i < 4; ++i) put(4 * b + i, low_ + scale_ * below_one(bits[i]));
        continue;
      }
      for (int pair = 0; pair < 2; ++pair) {
        const double radius = scale_ * std::sqrt(-2 * std::log(above_zero(bits[2 * pair])));
        const double angle = 2 * std::numbers::pi * below_one(bits[2 * pair + 1]);
        put(4 * b + 2 * pair, radius * std::cos(angle));
        put(4 * b + 2 * pair + 1, radius * std::sin(angle));
      }
    }
  });
}

void Init::fill(const Tensor& target, uint64_t seed, std::string_view name) const {
  if (target.device().type == DeviceType::meta) return;
  dispatch_float(target.dtype(), [&]<class T>() {
    std::vector<T> host(static_cast<size_t>(target.numel()));
    generate(target.numel(), seed, name,
             [&](int64_t i, double value) { host[static_cast<size_t>(i)] = T(static_cast<Compute<T>>(value)); });
    runtime(target.device()).copy_to_device(target.view().data, host.data(), host.size() * sizeof(T));
  });
}

std::vector<double> Init::draw(int64_t count, uint64_t seed, std::string_view name) const {
  std::vector<double> out(static_cast<size_t>(count));
  generate(count, seed, name, [&](int64_t i, double value) { out[static_cast<size_t>(i)] = value; });
  return out;
}

}  // namespace mara::nn
