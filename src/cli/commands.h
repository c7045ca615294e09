#pragma once
// Every command there is.

#include "cli/command.h"

namespace mara::cli {

extern const Command kTrain;
extern const Command kDescribe;
extern const Command kData;
extern const Command kReport;

}  // namespace mara::cli
