#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "core/parallel.h"

namespace mara {

/// `run` returns its results as one vector: they must have the same bits with one and with two threads.
template <class Run>
void expect_same_bits_for_any_thread_count(const Run& run) {
  const int threads = thread_count();
  set_thread_count(1);
  const std::vector<double> one = run();
  set_thread_count(2);
  const std::vector<double> two = run();
  set_thread_count(threads);
  EXPECT_EQ(one, two);
}

inline std::vector<double> concatenate(std::initializer_list<std::vector<double>> parts) {
  std::vector<double> out;
  for (const std::vector<double>& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

}  // namespace mara
