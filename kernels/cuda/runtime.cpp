// The GPU as a device: memory, copies, events, capture. One process drives one GPU, through one stream.

#include "core/runtime.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>

#include "core/format.h"
#include "core/pool.h"
#include "kernels/cuda/cuda.h"
#include "kernels/kernels.h"

namespace mara {
namespace {

using kernels::cuda::check;

constexpr int kOldestCapability = 80;

// Otherwise the next launch would be blamed for it.
void forget_error() { cudaGetLastError(); }

class CudaEvent final : public Event {
 public:
  explicit CudaEvent(cudaStream_t stream, unsigned flags = cudaEventDisableTiming) : stream_(stream) {
    MARA_CUDA(cudaEventCreateWithFlags(&event_, flags));
  }
  ~CudaEvent() override { cudaEventDestroy(event_); }
  void record() override { MARA_CUDA(cudaEventRecord(event_, stream_)); }
  void wait() override { MARA_CUDA(cudaEventSynchronize(event_)); }
  double seconds_since(const CudaEvent& earlier) const {
    float milliseconds = 0;
    MARA_CUDA(cudaEventElapsedTime(&milliseconds, earlier.event_, event_));
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t event_ = nullptr;
};

class CudaGraph final : public Graph {
 public:
  CudaGraph(cudaGraph_t graph, cudaStream_t stream) : stream_(stream) {
    const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
  }
  ~CudaGraph() override { cudaGraphExecDestroy(executable_); }
  void launch() override { MARA_CUDA(cudaGraphLaunch(executable_, stream_)); }

 private:
  cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

class CudaRuntime final : public Runtime {
 public:
  explicit CudaRuntime(int index) {
    cudaDeviceProp properties;
    MARA_CUDA(cudaGetDeviceProperties(&properties, index));
    name_ = properties.name;
    MARA_CUDA(cudaSetDevice(index));
    size_t total = 0;
    MARA_CUDA(cudaMemGetInfo(&bytes_, &total));  // what other processes leave
    MARA_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }

  void* allocate(size_t bytes) override {
    void* data = nullptr;
    const cudaError_t status = cudaMalloc(&data, bytes);
    if (status == cudaSuccess) return data;
    forget_error();  // the caller deals with it
    if (status != cudaErrorMemoryAllocation) check(status, "cudaMalloc");
    return nullptr;
  }
  void release(void* data, size_t) noexcept override {
    if (cudaFree(data) != cudaSuccess) forget_error();  // one that an earlier call has left
  }
  void* allocate_host(size_t bytes) override {
    void* data = nullptr;
    MARA_CUDA(cudaHostAlloc(&data, bytes, cudaHostAllocDefault));
    return data;
  }
  void release_host(void* data) noexcept override {
    if (cudaFreeHost(data) != cudaSuccess) forget_error();
  }

  void copy_to_device(void* device, const void* host, size_t bytes) override {
    if (bytes == 0) return;
    MARA_CUDA(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_));
    MARA_CUDA(cudaStreamSynchronize(stream_));
  }
  void copy_to_host(void* host, const void* device, size_t bytes) override {
    if (bytes == 0) return;
    MARA_CUDA(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_));
    MARA_CUDA(cudaStreamSynchronize(stream_));
  }
  void enqueue_to_device(void* device, const void* host, size_t bytes) override {
    MARA_CUDA(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_));
  }
  void enqueue_to_host(void* host, const void* device, size_t bytes) override {
    MARA_CUDA(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_));
  }
  std::unique_ptr<Event> event() override { return std::make_unique<CudaEvent>(stream_); }
  double seconds(const std::function<void()>& body) override {
    CudaEvent start(stream_, cudaEventDefault), end(stream_, cudaEventDefault);
    start.record();
    body();
    end.record();
    end.wait();
    return end.seconds_since(start);
  }

  std::unique_ptr<Graph> capture(const std::function<void()>& body) override {
    MARA_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    cudaGraph_t graph = nullptr;
    try {
      body();
    } catch (...) {
      cudaStreamEndCapture(stream_, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      forget_error();
      throw;
    }
    MARA_CUDA(cudaStreamEndCapture(stream_, &graph));
    return std::make_unique<CudaGraph>(graph, stream_);
  }
  void* native_stream() override { return stream_; }
  int64_t memory_bytes() const override { return static_cast<int64_t>(bytes_); }
  std::string description() const override { return name_ + ", " + bytes_text(static_cast<int64_t>(bytes_)); }

 private:
  std::string name_;
  size_t bytes_ = 0;
  cudaStream_t stream_ = nullptr;
};

// Why a GPU cannot be used; empty if it can.
std::string problem_with(int index) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    const std::string reason = status == cudaSuccess ? "none is visible" : cudaGetErrorString(status);
    return "no NVIDIA GPU can be used here (" + reason + "); check nvidia-smi, or use --device cpu";
  }
  if (index >= count) {
    return detail::join({"the GPUs here are numbered from 0 to ", count - 1, "; use one of them or --device cpu"});
  }
  cudaDeviceProp properties;
  MARA_CUDA(cudaGetDeviceProperties(&properties, index));
  if (10 * properties.major + properties.minor >= kOldestCapability) return "";
  return detail::join({properties.name, " has compute capability ", properties.major, ".", properties.minor,
                       ", 8.0 or later (Ampere) is required; use --device cpu"});
}

// The GPU of this process. Never destroyed: tensors with static lifetime may outlive main.
CudaRuntime* opened = nullptr;
int opened_index = -1;

}  // namespace

Runtime* cuda_runtime(int index) {
  if (opened == nullptr && problem_with(index).empty()) {
    opened = new CudaRuntime(index);
    opened_index = index;
  }
  return index == opened_index ? opened : nullptr;
}

std::string cuda_problem(int index) {
  if (opened == nullptr || index == opened_index) return problem_with(index);
  return detail::join({"this process drives cuda:", opened_index, "; one process drives one GPU, or use --device cpu"});
}

namespace kernels::cuda {

void out_of_memory(const char* call) {
  throw OutOfMemory(detail::join(
      {"out of memory on the GPU: ", call, " failed; in use are ", memory_in_use({DeviceType::cuda, opened_index})}));
}

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  MARA_CHECK(status != cudaErrorNoKernelImageForDevice, "this build has no code for this GPU; configure with ",
             "-DCMAKE_CUDA_ARCHITECTURES=", device_info().capability, ", or use --device cpu");
  if (status == cudaErrorMemoryAllocation) {
    forget_error();
    out_of_memory(call);
  }
  throw Failure(detail::join({"CUDA: ", call, ": ", cudaGetErrorName(status), ", ", cudaGetErrorString(status)}));
}

void launched(const char* kernel) {
  static const bool wait = [] {
    const char* set = std::getenv("MARA_DEBUG_SYNC");
    return set != nullptr && std::string_view(set) == "1";
  }();
  check(cudaGetLastError(), kernel);
  if (!wait) return;
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;  // waiting is not allowed in a capture
  cudaStream_t stream = static_cast<cudaStream_t>(opened->native_stream());
  check(cudaStreamIsCapturing(stream, &capturing), kernel);
  if (capturing == cudaStreamCaptureStatusNone) check(cudaStreamSynchronize(stream), kernel);
}

const DeviceInfo& device_info() {
  static const DeviceInfo info = [] {
    int device = 0;
    MARA_CUDA(cudaGetDevice(&device));
    cudaDeviceProp properties;
    MARA_CUDA(cudaGetDeviceProperties(&properties, device));
    return DeviceInfo{properties.multiProcessorCount, static_cast<int64_t>(properties.sharedMemPerBlockOptin),
                      10 * properties.major + properties.minor};
  }();
  return info;
}

int grid_for(int64_t items, int64_t per_block, int waves) {
  const int64_t most = int64_t{waves} * device_info().multiprocessors;
  return static_cast<int>(std::clamp<int64_t>(ceil_div(items, per_block), 1, most));
}

unsigned exact_grid(int64_t blocks) {
  if (blocks <= std::numeric_limits<int32_t>::max()) return static_cast<unsigned>(blocks);
  throw Failure(
      detail::join({"CUDA: a launch takes up to 2^31 - 1 blocks, ", blocks, " are needed; use smaller batches"}));
}

}  // namespace kernels::cuda
}  // namespace mara
