#include "kernels/cuda/fft_plan.h"

#include <map>
#include <utility>

#include "kernels/cuda/cuda.h"

namespace mara::kernels::cuda {
namespace {

void check_fft(cufftResult status, const char* call) {
  if (status == CUFFT_SUCCESS) return;
  throw Failure(detail::join({"cuFFT: ", call, ": error ", static_cast<int>(status), " (see cufft.h)"}));
}

}  // namespace

#define MARA_CUFFT(call) check_fft(call, #call)

FftPlan::FftPlan(Stream& stream, int64_t size, int64_t batch) {
  long long rank_sizes[] = {size};
  MARA_CUFFT(cufftCreate(&handle_));
  MARA_CUFFT(cufftSetAutoAllocation(handle_, 0));
  MARA_CUFFT(cufftMakePlanMany64(handle_, 1, rank_sizes, nullptr, 1, 0, nullptr, 1, 0, CUFFT_C2C, batch, &work_bytes_));
  MARA_CUFFT(cufftSetStream(handle_, native(stream)));
}

const FftPlan& FftPlan::of(Stream& stream, int64_t size, int64_t batch) {
  // Never destroyed: the driver may be gone when static objects are.
  static auto& plans = *new std::map<std::pair<int64_t, int64_t>, FftPlan>;
  const auto found = plans.find({size, batch});
  if (found != plans.end()) return found->second;
  return plans.emplace(std::pair(size, batch), FftPlan(stream, size, batch)).first->second;
}

void FftPlan::run(Stream& stream, cufftComplex* rows, Direction direction) const {
  const auto work = stream.scratch<char>(static_cast<int64_t>(work_bytes_));
  MARA_CUFFT(cufftSetWorkArea(handle_, work.get()));
  MARA_CUFFT(cufftExecC2C(handle_, rows, rows, static_cast<int>(direction)));
}

}  // namespace mara::kernels::cuda
