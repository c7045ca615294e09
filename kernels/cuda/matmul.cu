// Matrix products by cuBLASLt. It thinks in columns: row-major c = a b is its column-major c^T = b^T a^T, so that b is
// its first factor and c has n "rows", along which its bias runs: our col_bias, added in the epilogue at no cost.
//
// That bias must have the dtype of c, so for a bf16 c a rounded copy is made (n elements). A bias per row of c has no
// epilogue: c is filled with it and the product accumulated, which writes and reads c once more (the reading is done by
// the product, under its arithmetic; adding the bias afterwards would be as many bytes and nothing hidden).
//
// An epilogue is the library's own where it has that function (its GELU is gelu_tanh, see has_epilogue), else a pass of
// unary_forward or unary_backward behind the product.
//
// The algorithm is the library's first choice for sizes, strides, dtypes and alignments, asked for once and kept, so it
// is the same for the whole run. Splits of k are allowed where partial sums are kept in f32 and added up by a separate
// pass: no atomics, no rounding in between.

#include <cublasLt.h>

#include <map>

#include "kernels/common/epilogue.h"
#include "kernels/cuda/device.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;  // four f32 partial sums of a (1024, 4096) weight gradient

void check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  if (status == CUBLAS_STATUS_ALLOC_FAILED) out_of_memory(call);
  throw Failure(
      detail::join({"cuBLASLt: ", call, ": ", cublasLtGetStatusName(status), ", ", cublasLtGetStatusString(status)}));
}
#define MARA_CUBLAS(call) check(call, #call)

// Handle and workspace, made at the first product and kept for the life of the process. One stream uses them.
struct Library {
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;

  Library() {
    MARA_CUDA(cudaMalloc(&workspace, kWorkspaceBytes));
    const cublasStatus_t status = cublasLtCreate(&handle);
    if (status != CUBLAS_STATUS_SUCCESS) cudaFree(workspace);
    check(status, "cublasLtCreate");
  }
};
const Library& library() {
  static const Library& opened = *new Library;
  return opened;
}

cudaDataType_t library_type(Dtype dtype) { return dtype == Dtype::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// Largest power of two, at most 256, that divides an address or a distance in bytes.
int64_t alignment_of(uint64_t bytes) {
  const uint64_t bit = bytes & (~bytes + 1);
  return bit == 0 || bit > 256 ? 256 : static_cast<int64_t>(bit);
}

// How a matrix lies in memory. An axis of size 1 may have any stride.
struct Layout {
  int64_t ld, batch_stride, alignment;
  bool transposed;

  explicit Layout(const View& x)
      : batch_stride(x.size(0) > 1 ? x.stride[0] : 0),
        alignment(std::min(alignment_of(reinterpret_cast<uintptr_t>(x.data)),
                           alignment_of(static_cast<uint64_t>(batch_stride * size_of(x.dtype))))),
        transposed(x.stride[2] != 1 && x.size(2) > 1) {
    const int row = transposed ? 2 : 1;
    ld = std::max(x.stride[row], x.size(3 - row));
  }
  auto operator<=>(const Layout&) const = default;
};

// Whether the library's epilogue is the one asked for: its `pre` needs rows of whole 16 bytes. In bf16 only, where its
// approximate tanh is as good as any, and from 9.0 on: before, its fused kernels are reported to be slower than a pass
// of one's own (llm.c, pull request 338).
bool has_epilogue(const Matmul& args) {
  if (args.epilogue == Epilogue::none) return true;
  return args.function == Unary::gelu_tanh && args.c.dtype == Dtype::bf16 && args.c.size(2) % 8 == 0 &&
         aligned(16, args.pre.data) && device_info().capability >= 90;
}

uint32_t library_epilogue(const Matmul& args, bool biased) {
  const auto with_bias = [&](uint32_t alone, uint32_t with) { return biased ? with : alone; };
  if (args.epilogue == Epilogue::none) return with_bias(CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS);
  if (args.epilogue == Epilogue::activation_gradient) return CUBLASLT_EPILOGUE_DGELU;
  return args.pre ? with_bias(CUBLASLT_EPILOGUE_GELU_AUX, CUBLASLT_EPILOGUE_GELU_AUX_BIAS)
                  : with_bias(CUBLASLT_EPILOGUE_GELU, CUBLASLT_EPILOGUE_GELU_BIAS);
}

// All that an algorithm is chosen by.
struct Key {
  int64_t batch, m, n, k;
  Layout a, b, c;
  Dtype in, out;
  bool accumulate;
  uint32_t epilogue;
  int64_t bias_alignment, pre_alignment;  // 0: none

  Key(const Matmul& args, bool accumulate, const void* bias)
      : batch(args.c.size(0)),
        m(args.c.size(1)),
        n(args.c.size(2)),
        k(args.a.size(2)),
        a(args.a),
        b(args.b),
        c(args.c),
        in(args.a.dtype),
        out(args.c.dtype),
        accumulate(accumulate),
        epilogue(library_epilogue(args, bias != nullptr)),
        bias_alignment(bias == nullptr ? 0 : alignment_of(reinterpret_cast<uintptr_t>(bias))),
        pre_alignment(args.pre ? alignment_of(reinterpret_cast<uintptr_t>(args.pre.data)) : 0) {}
  auto operator<=>(const Key&) const = default;
};

// A product as the library describes it, with its algorithm.
class Plan {
 public:
  Plan(const Key& key, const void* bias, const void* pre) : accumulate_(key.accumulate) {
    describe(a_, key.in, key.a, key.m, key.k, key.batch);
    describe(b_, key.in, key.b, key.k, key.n, key.batch);
    describe(c_, key.out, key.c, key.m, key.n, key.batch);
    MARA_CUBLAS(cublasLtMatmulDescInit(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F));  // f32 is f32, never TF32
    set(CUBLASLT_MATMUL_DESC_TRANSA, key.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, key.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, key.epilogue);
    if (bias != nullptr) set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(library_type(key.out)));
    if (pre != nullptr) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, key.n);
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, key.m * key.n);
    }
    point_to(bias, pre);  // their alignment matters to the choice
    choose(key);
  }

  bool found() const { return found_; }

  void run(const Stream& stream, const Matmul& args, const void* bias) {
    const float one = 1, beta = accumulate_ ? 1 : 0;
    point_to(bias, args.pre.data);
    MARA_CUBLAS(cublasLtMatmul(library().handle, &product_, &one, args.b.data, &b_, args.a.data, &a_, &beta,
                               args.c.data, &c_, args.c.data, &c_, &algorithm_, library().workspace, kWorkspaceBytes,
                               native(stream)));
    launched("matmul");
  }

 private:
  using LibraryLayout = cublasLtMatrixLayoutOpaque_t;

  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, T value) {
    MARA_CUBLAS(cublasLtMatmulDescSetAttribute(&product_, attribute, &value, sizeof(value)));
  }

  void point_to(const void* bias, const void* pre) {
    if (bias != nullptr) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    if (pre != nullptr) set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, pre);
  }

  // Our rows are the library's columns.
  static void describe(LibraryLayout& layout, Dtype dtype, const Layout& x, int64_t rows, int64_t columns,
                       int64_t batch) {
    if (x.transposed) std::swap(rows, columns);
    MARA_CUBLAS(cublasLtMatrixLayoutInit(&layout, library_type(dtype), static_cast<uint64_t>(columns),
                                         static_cast<uint64_t>(rows), x.ld));
    const auto set = [&](cublasLtMatrixLayoutAttribute_t attribute, auto value) {
      MARA_CUBLAS(cublasLtMatrixLayoutSetAttribute(&layout, attribute, &value, sizeof(value)));
    };
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(batch));
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, x.batch_stride);
  }

  void choose(const Key& key) {
    cublasLtMatmulPreferenceOpaque_t preference;
    MARA_CUBLAS(cublasLtMatmulPreferenceInit(&preference));
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      MARA_CUBLAS(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)));
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspaceBytes});
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(key.b.alignment));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(key.a.alignment));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(key.c.alignment));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(key.c.alignment));
    cublasLtMatmulHeuristicResult_t results[8];
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(library().handle, &product_, &b_, &a_, &c_, &c_,
                                                                 &preference, std::size(results), results, &count);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, "cublasLtMatmulAlgoGetHeuristic");
    for (int i = 0; i < count && !found_; ++i) {
      if (results[i].state != CUBLAS_STATUS_SUCCESS) continue;
      algorithm_ = results[i].algo;
      found_ = true;
    }
  }

  cublasLtMatmulDescOpaque_t product_;
  LibraryLayout a_, b_, c_;
  cublasLtMatmulAlgo_t algorithm_{};
  bool accumulate_, found_ = false;
};

Plan& plan_for(const Matmul& args, bool accumulate, const void* bias) {
  static auto& plans = *new std::map<Key, Plan>;
  const Key key(args, accumulate, bias);
  return plans.try_emplace(key, key, bias, args.pre.data).first->second;
}

// A batch over one repeated matrix is a single product where the other factor and c lie as one taller matrix.
Matmul folded(Matmul args) {
  const int64_t batch = args.c.size(0), m = args.c.size(1);
  if (batch > 1 && args.b.stride[0] == 0 && args.a.stride[0] == m * args.a.stride[1] &&
      args.c.stride[0] == m * args.c.stride[1] && !args.row_bias) {
    for (View* x : {&args.a, &args.c}) x->shape[0] = 1, x->shape[1] = batch * m;
    args.b.shape[0] = 1;
    if (args.pre) args.pre.shape = args.c.shape;
  }
  return args;
}

constexpr int kFillThreads = 256, kFillPacks = 4;  // packs of a row that a lane writes

// c[i, r, j] = row_bias[r] + col_bias[j], one warp for every piece of 32 x kFillPacks packs of a row.
template <int V, class T>
__global__ void __launch_bounds__(kFillThreads)
    fill_kernel(T* c, int64_t rows, int64_t m, int n, int64_t batch_stride, int64_t row_stride, const float* row_bias,
                const float* col_bias) {
  constexpr int kPiece = 32 * kFillPacks * V, kWarps = kFillThreads / 32;
  const int pieces = ceil_div(n, kPiece), lane = threadIdx.x % 32;
  for (int64_t item = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32; item < rows * pieces;
       item += int64_t{gridDim.x} * kWarps) {
    const int64_t row = item / pieces, r = row % m;
    T* to = c + row / m * batch_stride + r * row_stride;
    const float first = row_bias == nullptr ? 0 : row_bias[r];
    const int begin = static_cast<int>(item % pieces) * kPiece + lane * V;
#pragma unroll
    for (int pack = 0; pack < kFillPacks; ++pack) {
      const int j = begin + pack * 32 * V;
      if (j >= n) break;
      float values[V];
#pragma unroll
      for (int i = 0; i < V; ++i) values[i] = first + (col_bias == nullptr ? 0 : col_bias[j + i]);
      store<V>(to + j, values);
    }
  }
}

// c = the biases, zero where there are none.
void fill_with_biases(const Stream& stream, const Matmul& args) {
  const View& c = args.c;
  dispatch(c.dtype, [&]<class T>() {
    constexpr int kVector = kPerAccess<T>;
    const int64_t rows = c.size(0) * c.size(1), n = c.size(2);
    const auto launch = [&]<int V>() {
      const int64_t pieces = ceil_div(n, 32 * kFillPacks * V);
      fill_kernel<V><<<grid_for(rows * pieces, kFillThreads / 32), kFillThreads, 0, native(stream)>>>(
          c.ptr<T>(), rows, c.size(1), static_cast<int>(n), c.stride[0], c.stride[1],
          args.row_bias ? args.row_bias.ptr<float>() : nullptr, args.col_bias ? args.col_bias.ptr<float>() : nullptr);
    };
    const bool whole = n % kVector == 0 && c.stride[0] % kVector == 0 && c.stride[1] % kVector == 0;
    whole&& aligned(16, c.data) ? launch.template operator()<kVector>() : launch.template operator()<1>();
  });
  launched("matmul: biases");
}

// c (+)= a b (+ bias of the columns, which has the dtype of c), and the epilogue. False if the library cannot.
bool multiply(const Stream& stream, const Matmul& args, bool accumulate, const void* bias) {
  Plan& plan = plan_for(args, accumulate, bias);
  if (plan.found()) plan.run(stream, args, bias);
  return plan.found();
}

// All of it by one call of the library. False if it cannot.
bool multiply_at_once(Stream& stream, const Matmul& args) {
  const bool gradient = args.epilogue == Epilogue::activation_gradient;
  if (args.row_bias || (args.col_bias && gradient) || args.a.size(2) == 0 || !has_epilogue(args)) return false;
  if (!args.col_bias) return multiply(stream, args, args.accumulate, nullptr);
  const bool rounds = args.c.dtype == Dtype::bf16;
  const int64_t n = args.c.size(2);
  const auto rounded = stream.scratch<bfloat16>(rounds ? n : 0);
  if (rounds) copy(stream, {.x = args.col_bias, .y = {rounded, Dtype::bf16, {n}, {1}, true}});
  return multiply(stream, args, false, rounds ? rounded.get() : args.col_bias.data);
}

// Without epilogue: the biases are written into c, the product is added.
void multiply_onto_biases(Stream& stream, const Matmul& args) {
  const bool biased = args.row_bias || args.col_bias, empty = args.a.size(2) == 0;
  if (biased || (empty && !args.accumulate)) fill_with_biases(stream, args);
  if (empty) return;
  if (!multiply(stream, args, args.accumulate || biased, nullptr)) {
    throw Failure(detail::join({"matmul: cuBLASLt has no algorithm for ", args.a.shape, " times ", args.b.shape, " in ",
                                args.a.dtype, " with strides ", args.a.stride[1], ", ", args.a.stride[2], " and ",
                                args.b.stride[1], ", ", args.b.stride[2], " into ", args.c.dtype,
                                "; a contiguous copy of the factors may help"}));
  }
}

}  // namespace

void matmul(Stream& stream, const Matmul& given) {
  if (given.c.numel() == 0) return;
  const Matmul args = folded(given);
  if (multiply_at_once(stream, args)) return;
  if (args.epilogue == Epilogue::none) return multiply_onto_biases(stream, args);
  multiply_then_apply(stream, args, matmul, unary_forward, unary_backward);
}

}  // namespace mara::kernels::cuda
