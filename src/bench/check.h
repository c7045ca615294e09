#pragma once
// Whether a device computes what the CPU does, at the sizes of a recipe.

#include "bench/call.h"
#include "train/recipe.h"

namespace mara::bench {

/// How large ||x - reference|| / ||reference|| may be for an output of one dtype computed from inputs of another, the
/// reference being the same kernel in f64 from the same, rounded inputs. For i32 outputs (predictions): the fraction
/// that may differ, since logits can be equal but for rounding.
double error_bound(Dtype output, Dtype inputs);

/// One call and the worst of its outputs, measured by the bound.
struct CheckRow {
  std::string kernel, shapes;
  Dtype dtype = Dtype::f32;
  int64_t count = 1;
  std::string output;
  double error = 0, bound = 0;  // error: infinite where an element was not written, or not a number

  bool ok() const { return error <= bound; }
};

/// Runs each call on random inputs on `tested`, with outputs poisoned before, and in f64 on the CPU.
std::vector<CheckRow> check(const Calls& calls, const kernels::Backend& tested);

/// Every launch of a recipe's first step and of an evaluation, initial values included. `quick`: one sequence at a
/// time, and a few rows of what treats all alike.
Calls recipe_calls(const train::Recipe& recipe, bool quick);

/// A table, failures last and marked.
std::string to_text(const std::vector<CheckRow>& rows);

/// Throws Failure that names the kernels in error, if any; `advice` says what to do.
void require_ok(const std::vector<CheckRow>& rows, const std::string& advice);

}  // namespace mara::bench
