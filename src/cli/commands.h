#pragma once
// One function per command. Each returns the exit code or throws.

#include <string>
#include <vector>

namespace mara::cli {

struct TrainArguments {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string out;
  std::string device = "cpu";
  int threads = 0;
  bool force = false;
};
int train(const TrainArguments& arguments);

struct DescribeArguments {
  std::string recipe;
  std::vector<std::string> overrides;
  bool options = false;
};
int describe(const DescribeArguments& arguments);

}  // namespace mara::cli
