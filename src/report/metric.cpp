#include "report/metric.h"

#include <fmt/format.h>

namespace mara::report {

std::string value_text(const Metric& metric, double value) {
  return metric.higher_is_better ? fmt::format("{:.2f}{}", value * metric.factor, metric.unit)
                                 : fmt::format("{:.4g}{}", value * metric.factor, metric.unit);
}

}  // namespace mara::report
