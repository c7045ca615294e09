#include "tasks/arithmetic.h"

#include <vector>

#include "tasks/prompt.h"

namespace mara::tasks {
namespace {

constexpr int32_t kPlus = 10, kEquals = 11;

}  // namespace

void ArithmeticConfig::fields(config::Fields& f) {
  f.field("digits", digits, "D, digits of the numbers to add", config::between(1, 1 << 20));
  f.field("separator", separator, "a + between the numbers");
}

void Arithmetic::draw(PhiloxSequence& random, Split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  const size_t digits = static_cast<size_t>(config_.digits), second = digits + (config_.separator ? 1 : 0);
  for (size_t t = 0; t < second + digits; ++t) ids[t] = static_cast<int32_t>(random.below(10));
  if (config_.separator) ids[digits] = kPlus;

  std::vector<int32_t> sum(digits + 1);
  int32_t carry = 0;
  for (size_t i = digits; i-- > 0;) {
    const int32_t column = ids[i] + ids[second + i] + carry;
    sum[i + 1] = column % 10;
    carry = column / 10;
  }
  sum[0] = carry;

  const size_t equals = second + digits;
  ids[equals] = kEquals;
  for (size_t i = 0; i < digits; ++i) ids[equals + 1 + i] = sum[i];
  next_token_targets(ids, sum.back(), config_.digits + 1, targets);
}

}  // namespace mara::tasks
