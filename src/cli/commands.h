#pragma once
// Every command there is.

#include "cli/command.h"

namespace mara::cli {

extern const Command kTrain;
extern const Command kDescribe;
extern const Command kCheck;
extern const Command kBench;
extern const Command kData;
extern const Command kReport;
extern const Command kEval;
extern const Command kExport;
extern const Command kImport;
extern const Command kLogits;
extern const Command kGenerate;

}  // namespace mara::cli
