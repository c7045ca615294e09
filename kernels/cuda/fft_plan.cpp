#include "kernels/cuda/fft_plan.h"

#include <map>
#include <tuple>

#include "kernels/cuda/cuda.h"

namespace mara::kernels::cuda {
namespace {

// The library names none of its errors; these are what calls like ours can give.
const char* name_of(cufftResult status) {
  switch (status) {
    case CUFFT_INVALID_PLAN:
      return "CUFFT_INVALID_PLAN";
    case CUFFT_INVALID_VALUE:
      return "CUFFT_INVALID_VALUE";
    case CUFFT_INTERNAL_ERROR:
      return "CUFFT_INTERNAL_ERROR";
    case CUFFT_EXEC_FAILED:
      return "CUFFT_EXEC_FAILED";
    case CUFFT_SETUP_FAILED:
      return "CUFFT_SETUP_FAILED";
    case CUFFT_INVALID_SIZE:
      return "CUFFT_INVALID_SIZE";
    case CUFFT_INVALID_DEVICE:
      return "CUFFT_INVALID_DEVICE";
    case CUFFT_NO_WORKSPACE:
      return "CUFFT_NO_WORKSPACE";
    case CUFFT_NOT_SUPPORTED:
      return "CUFFT_NOT_SUPPORTED";
    case CUFFT_NVRTC_FAILURE:
      return "CUFFT_NVRTC_FAILURE";
    case CUFFT_NVJITLINK_FAILURE:
      return "CUFFT_NVJITLINK_FAILURE";
    default:
      return "unknown";
  }
}

void check_fft(cufftResult status, const char* call) {
  if (status == CUFFT_SUCCESS) return;
  if (status == CUFFT_ALLOC_FAILED) out_of_memory(call);
  throw Failure(detail::join({"cuFFT: ", call, ": ", name_of(status), ", error ", static_cast<int>(status)}));
}

}  // namespace

#define MARA_CUFFT(call) check_fft(call, #call)

FftPlan::FftPlan(Stream& stream, int64_t size, int64_t batch, Kind kind) : kind_(kind) {
  long long sizes[] = {size}, complex_row = size / 2 + 1, real_row = 2 * complex_row;
  long long& in = kind == Kind::real_to_complex ? real_row : complex_row;
  long long& out = kind == Kind::complex_to_real ? real_row : complex_row;
  const bool dense = kind == Kind::complex;  // rows one after another, the library's default
  MARA_CUFFT(cufftCreate(&handle_));
  try {
    MARA_CUFFT(cufftSetAutoAllocation(handle_, 0));
    MARA_CUFFT(cufftMakePlanMany64(handle_, 1, sizes, dense ? nullptr : &in, 1, in, dense ? nullptr : &out, 1, out,
                                   static_cast<cufftType>(kind), batch, &work_bytes_));
    MARA_CUFFT(cufftSetStream(handle_, native(stream)));
  } catch (...) {
    cufftDestroy(handle_);
    throw;
  }
}

const FftPlan& FftPlan::of(Stream& stream, int64_t size, int64_t batch, Kind kind) {
  // Never destroyed: the driver may be gone when static objects are.
  static auto& plans = *new std::map<std::tuple<int64_t, int64_t, Kind>, FftPlan>;
  const std::tuple key(size, batch, kind);
  const auto found = plans.find(key);
  if (found != plans.end()) return found->second;
  return plans.emplace(key, FftPlan(stream, size, batch, kind)).first->second;
}

void FftPlan::run(Stream& stream, cufftComplex* rows, Direction direction) const {
  const auto work = stream.scratch<char>(static_cast<int64_t>(work_bytes_));
  MARA_CUFFT(cufftSetWorkArea(handle_, work.get()));
  MARA_CUFFT(cufftExecC2C(handle_, rows, rows, static_cast<int>(direction)));
}

void FftPlan::run(Stream& stream, cufftComplex* rows) const {
  const auto work = stream.scratch<char>(static_cast<int64_t>(work_bytes_));
  MARA_CUFFT(cufftSetWorkArea(handle_, work.get()));
  cufftReal* const reals = reinterpret_cast<cufftReal*>(rows);
  if (kind_ == Kind::real_to_complex) {
    MARA_CUFFT(cufftExecR2C(handle_, reals, rows));
  } else {
    MARA_CUFFT(cufftExecC2R(handle_, rows, reals));
  }
}

}  // namespace mara::kernels::cuda
