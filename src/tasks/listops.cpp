#include "tasks/listops.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace mara::tasks {
namespace {

enum Token : int32_t { kPadding, kUnknown, kEnd, kDigit0, kMin = 13, kMax, kMed, kSum, kClose };

int32_t apply(int32_t operation, std::vector<int32_t> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  switch (operation) {
    case kMin:
      return values.front();
    case kMax:
      return values.back();
    case kMed:
      return (values[(n - 1) / 2] + values[n / 2]) / 2;
    default:
      return std::accumulate(values.begin(), values.end(), 0) % 10;
  }
}

}  // namespace

void ListopsConfig::fields(config::Fields& f) {
  f.field("min_length", min_length, "an expression has more tokens", config::between(0, 1 << 20));
  f.field("max_length", max_length, "and fewer; L, with the end token and padding", config::between(5, 1 << 20));
  f.field("max_depth", max_depth, "of the tree, a digit being 1", config::between(2, 64));
  f.field("max_args", max_args, "of an operator, at most", config::between(2, 1000));
  f.require(max_length > min_length + 1, "max_length",
            detail::join({"must be above min_length + 1 = ", min_length + 1, ", got ", max_length}));
}

size_t Listops::tree(PhiloxSequence& random, int64_t depth, std::span<int32_t> ids, size_t size) const {
  if (size >= ids.size()) return size;
  if (depth == config_.max_depth || random.uniform() > 0.25f) {
    ids[size] = kDigit0 + static_cast<int32_t>(random.below(10));
    return size + 1;
  }
  const uint32_t args = 2 + random.below(static_cast<uint32_t>(config_.max_args - 1));
  ids[size++] = kMin + static_cast<int32_t>(random.below(4));
  for (uint32_t i = 0; i < args; ++i) size = tree(random, depth + 1, ids, size);
  if (size < ids.size()) ids[size] = kClose;
  return size + 1;
}

void Listops::draw(PhiloxSequence& random, Split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  constexpr int kAttempts = 100'000;  // of the published lengths one in twelve fits
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const size_t size = tree(random, 1, ids, 0);
    if (size >= ids.size() || size <= static_cast<size_t>(config_.min_length)) continue;
    ids[size] = kEnd;
    std::fill(ids.begin() + static_cast<std::ptrdiff_t>(size) + 1, ids.end(), kPadding);
    targets[0] = value(ids.first(size));
    return;
  }
  detail::throw_error({"task: none of ", kAttempts, " expressions drawn has more than ", config_.min_length,
                       " and fewer than ", config_.max_length,
                       " tokens; lower min_length, or raise max_length, max_depth or max_args"});
}

int32_t Listops::value(std::span<const int32_t> ids) {
  struct Open {
    int32_t operation;
    std::vector<int32_t> values;
  };
  std::vector<Open> open{{kMax, {}}};  // around the whole
  for (const int32_t id : ids) {
    if (id >= kMin && id <= kSum) {
      open.push_back({id, {}});
    } else if (id == kClose) {
      const int32_t result = apply(open.back().operation, std::move(open.back().values));
      open.pop_back();
      open.back().values.push_back(result);
    } else if (id >= kDigit0 && id < kMin) {
      open.back().values.push_back(id - kDigit0);
    }
  }
  return open[0].values.front();
}

}  // namespace mara::tasks
