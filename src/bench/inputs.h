#pragma once
// Numbers in and out of an instance's memory, which may be of any dtype and on any device, through f64 on the CPU.

#include "bench/call.h"

namespace mara::bench {

/// Random values for input number `index` of a call, (elements) f64: variance 1, uniform; i32 where the slot is:
/// indices within their bound, one in eight the ignored one where there is one.
Tensor random_values(const Slot& slot, uint64_t index);

/// The slot's values as f64, i32 as they are, on the CPU, where they may be the slot's own memory; waits for the
/// device.
Tensor download(const Slot& slot);
/// The other way, rounded to the slot's dtype.
void upload(const Tensor& values, const Slot& slot);

/// Overwrites memory with NaN, i32 with -1: what is not written shows.
void poison(const Slot& slot);

/// Random inputs that fit each other, rounded to the instance's dtypes.
void fill_inputs(Instance& instance);
/// The same inputs, from another instance of the call on the same device.
void copy_inputs(const Instance& from, const Instance& to);

}  // namespace mara::bench
