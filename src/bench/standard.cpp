#include "bench/standard.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <utility>

namespace mara::bench {
namespace {

View view(const Shape& shape, Dtype dtype) { return {nullptr, dtype, shape, contiguous_strides(shape), true}; }

// S4's layers: a system of 64 states per channel.
void launch_state_space(const Sizes& s) {
  using namespace kernels;
  const auto [k, stream] = on(kMeta);
  constexpr int64_t kModes = 32;
  const Dtype wide = compute_dtype(s.dtype);
  const View steps = view({s.D}, wide), real = view({s.D, kModes}, wide), complex = view({s.D, kModes, 2}, wide);
  const View taps = view({s.D, s.L}, wide), channels = view({s.D, s.B, s.L}, s.dtype);
  const int64_t period = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(2, s.L))));
  k.diagonal_ssm_forward(
      stream, {.log_dt = steps, .log_decay = real, .frequency = real, .b = complex, .c = complex, .k = taps});
  k.diagonal_ssm_backward(stream, {.dk = taps,
                                   .log_dt = steps,
                                   .log_decay = real,
                                   .frequency = real,
                                   .b = complex,
                                   .c = complex,
                                   .dlog_dt = steps,
                                   .dlog_decay = real,
                                   .dfrequency = real,
                                   .db = complex,
                                   .dc = complex,
                                   .discretization = Discretization::bilinear});
  k.dplr_ssm_forward(stream, {.log_dt = steps,
                              .log_decay = real,
                              .frequency = real,
                              .b = complex,
                              .p = complex,
                              .c = complex,
                              .k = taps,
                              .period = period});
  k.dplr_ssm_backward(stream, {.dk = taps,
                               .log_dt = steps,
                               .log_decay = real,
                               .frequency = real,
                               .b = complex,
                               .p = complex,
                               .c = complex,
                               .dlog_dt = steps,
                               .dlog_decay = real,
                               .dfrequency = real,
                               .db = complex,
                               .dp = complex,
                               .dc = complex,
                               .period = period});
  const View state = view({s.D, s.B, kModes, 2}, wide);
  k.ssm_scan(stream, {.lambda = complex, .b = complex, .c = complex, .u = channels, .state = state, .y = channels});
  k.ssm_scan(stream, {.lambda = complex,
                      .b = complex,
                      .c = complex,
                      .q = complex,
                      .r = complex,
                      .u = channels,
                      .state = state,
                      .y = channels});
}

// Long convolutions with gates as in Hyena, and plain ones, and Hyena's whole operator; each as a device does it best
// and by its general way.
void launch_convolutions(const Sizes& s) {
  using namespace kernels;
  const auto [k, stream] = on(kMeta);
  const Dtype wide = compute_dtype(s.dtype);
  const View rows = view({s.D, s.B, s.L}, s.dtype), taps = view({s.D, s.L}, wide), skip = view({s.D}, wide);
  const View projected = view({3 * s.D, s.B, s.L}, s.dtype), few = view({3 * s.D, s.K}, wide);
  const View biases = view({3 * s.D}, wide);
  for (const bool general : {false, true}) {
    k.fft_conv_forward(
        stream, {.u = rows, .k = taps, .skip = skip, .gate_in = rows, .gate_out = rows, .y = rows, .general = general});
    k.fft_conv_backward(stream, {.dy = rows,
                                 .u = rows,
                                 .k = taps,
                                 .skip = skip,
                                 .gate_in = rows,
                                 .gate_out = rows,
                                 .du = rows,
                                 .dgate_in = rows,
                                 .dgate_out = rows,
                                 .dk = taps,
                                 .dskip = skip,
                                 .general = general});
    k.fft_conv_forward(stream, {.u = rows, .k = taps, .y = rows, .general = general});
    k.fft_conv_backward(stream, {.dy = rows, .u = rows, .k = taps, .du = rows, .dk = taps, .general = general});
    k.hyena_conv_forward(stream, {.z = projected,
                                  .short_weight = few,
                                  .short_bias = biases,
                                  .input_bias = biases,
                                  .k = taps,
                                  .skip = skip,
                                  .y = rows,
                                  .composed = general});
    k.hyena_conv_backward(stream, {.dy = rows,
                                   .z = projected,
                                   .short_weight = few,
                                   .short_bias = biases,
                                   .input_bias = biases,
                                   .k = taps,
                                   .skip = skip,
                                   .dz = projected,
                                   .dshort_weight = few,
                                   .dshort_bias = biases,
                                   .dinput_bias = biases,
                                   .dk = taps,
                                   .dskip = skip,
                                   .composed = general});
  }
}

void launch_all(const Sizes& s) {
  using namespace kernels;
  const auto [k, stream] = on(kMeta);
  const Dtype data = s.dtype, wide = compute_dtype(data), copies = wide == Dtype::f32 ? Dtype::bf16 : Dtype::f64;
  const int64_t N = s.B * s.L, D = s.D, V = s.V, parameters = 12 * D * D + V * D;
  const View tokens = view({N, D}, data), residual = view({N, D}, wide), hidden = view({N, 4 * D}, data);
  const View vector = view({D}, wide), one = view({1}, wide), per_token = view({N}, wide);
  const View ids = view({N}, Dtype::i32), table = view({1, V, D}, data), gathered = view({1, N, D}, data);
  const View channels = view({D, s.B, s.L}, data), filters = view({D, s.L}, wide), few = view({D, s.K}, wide);
  const View qkv = view({s.B, s.L, 3 * D}, data), heads_out = view({s.B, s.L, D}, data);
  const View lse = view({s.B, s.H, s.L}, wide), flat = view({parameters}, wide);
  const double scale = 1 / std::sqrt(static_cast<double>(D) / static_cast<double>(s.H));

  k.fill(stream, {.y = hidden});
  k.copy(stream, {.x = residual, .y = tokens});
  k.unary_forward(stream, {.function = Unary::gelu, .x = hidden, .y = hidden});
  k.unary_backward(stream, {.function = Unary::gelu, .x = hidden, .dy = hidden, .dx = hidden});
  k.add(stream, {.a = residual, .b = tokens, .y = residual});
  k.mul(stream, {.a = hidden, .b = hidden, .y = hidden});
  k.scale(stream, {.x = tokens, .y = tokens, .factor = 0.5});
  k.select(stream, {.mask = ids, .a = tokens, .b = tokens, .y = tokens});
  k.dropout(stream, {.x = tokens, .y = tokens, .p = 0.1f});
  k.matmul(stream, {.a = view({1, N, D}, data), .b = view({1, D, 4 * D}, data), .c = view({1, N, 4 * D}, data)});
  k.reduce_sum(stream, {.x = view({1, N, D}, data), .y = view({1, D}, wide)});
  k.sum_of_squares(stream, {.x = flat, .y = view({1}, Dtype::f64)});
  k.gather_forward(stream, {.x = table, .index = ids, .y = gathered});
  k.gather_backward(stream, {.index = ids, .dy = gathered, .dx = view({1, V, D}, wide)});
  k.softmax_forward(stream, {.x = tokens, .y = tokens});
  k.softmax_backward(stream, {.y = tokens, .dy = tokens, .dx = tokens});
  k.layer_norm_forward(
      stream, {.x = residual, .gain = vector, .bias = vector, .y = tokens, .mean = per_token, .rstd = per_token});
  k.layer_norm_backward(stream, {.dy = tokens,
                                 .x = residual,
                                 .gain = vector,
                                 .mean = per_token,
                                 .rstd = per_token,
                                 .dx = residual,
                                 .dgain = vector,
                                 .dbias = vector});
  k.rms_norm_forward(stream, {.x = residual, .gain = vector, .y = tokens, .rstd = per_token});
  k.rms_norm_forward(
      stream, {.x = residual, .gain = vector, .y = tokens, .rstd = per_token, .branch = tokens, .sum = residual});
  k.rms_norm_backward(
      stream, {.dy = tokens, .x = residual, .gain = vector, .rstd = per_token, .dx = residual, .dgain = vector});
  k.rms_norm_backward(stream, {.dy = tokens,
                               .x = residual,
                               .gain = vector,
                               .rstd = per_token,
                               .dx = residual,
                               .dgain = vector,
                               .accumulate_x = true});
  k.linear_cross_entropy(stream, {.x = tokens,
                                  .w = view({V, D}, data),
                                  .targets = ids,
                                  .loss = per_token,
                                  .count = one,
                                  .dx = tokens,
                                  .dw = view({V, D}, wide)});
  k.short_conv_forward(stream, {.u = channels, .weight = few, .bias = vector, .y = channels, .input_bias = vector});
  k.short_conv_backward(stream, {.dy = channels,
                                 .u = channels,
                                 .weight = few,
                                 .du = channels,
                                 .dweight = few,
                                 .dbias = vector,
                                 .input_bias = vector,
                                 .dinput_bias = vector});
  k.decay_window(stream, {.x = filters, .rate = vector, .time = view({s.L}, wide), .y = filters});
  k.decay_window_rate(stream,
                      {.dy = filters, .x = filters, .rate = vector, .time = view({s.L}, wide), .drate = vector});
  launch_convolutions(s);
  launch_state_space(s);
  k.rotary(stream, {.x = qkv, .y = qkv, .heads = s.H, .rotary_dim = D / s.H / 2 * 2});
  k.attention_forward(stream, {.qkv = qkv, .o = heads_out, .lse = lse, .heads = s.H, .scale = scale});
  k.attention_backward(
      stream, {.d_o = heads_out, .qkv = qkv, .o = heads_out, .lse = lse, .dqkv = qkv, .heads = s.H, .scale = scale});
  k.adamw(stream, {.master = flat,
                   .grad = flat,
                   .m = flat,
                   .v = flat,
                   .compute = view({parameters}, copies),
                   .range_count = 2,
                   .loss_sum = one,
                   .count = one,
                   .grad_squares = view({1}, Dtype::f64),
                   .clip = 1});
}

}  // namespace

Sizes Sizes::of(Device device) {
  if (device.type == DeviceType::cpu) return {.B = 2, .L = 1024, .D = 256, .V = 4096, .H = 4, .K = 3};
  return {.B = 64, .L = 1024, .D = 768, .V = 50304, .H = 12, .K = 3, .dtype = Dtype::bf16};
}

void Sizes::set(const std::string& assignment) {
  const size_t equals = assignment.find('=');
  MARA_CHECK(equals != std::string::npos, "--set ", assignment, ": key=value is required, such as D=768");
  const std::string key = assignment.substr(0, equals), text = assignment.substr(equals + 1);
  if (key == "dtype") {
    dtype = parse_dtype(text);
    MARA_CHECK(is_float(dtype), "--set ", assignment, ": f32, bf16 or f64 is required");
    return;
  }
  int64_t* const fields[] = {&B, &L, &D, &V, &H, &K};
  constexpr std::string_view kLetters = "BLDVHK";
  const size_t letter = key.size() == 1 ? kLetters.find(key[0]) : std::string::npos;
  MARA_CHECK(
      letter != std::string::npos, "--set ", assignment, ": unknown size ", key,
      "; there are B (sequences), L (tokens of each), D (width), V (vocabulary), H (heads), K (taps of the short "
      "convolution) and dtype");
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *fields[letter]);
  MARA_CHECK(error == std::errc() && end == text.data() + text.size() && *fields[letter] >= 1 &&
                 *fields[letter] <= (int64_t{1} << 24),
             "--set ", assignment, ": an integer from 1 to ", int64_t{1} << 24, " is required");
}

Calls standard_calls(const Sizes& sizes, const std::string& prefix) {
  MARA_CHECK(sizes.D % sizes.H == 0, "bench: D ", sizes.D, " must be a multiple of the heads H ", sizes.H);
  MARA_CHECK(sizes.K <= 64, "bench: at most 64 taps K of the short convolution, got ", sizes.K);
  Calls all = record([&] { launch_all(sizes); }), out;
  std::string names;
  for (std::unique_ptr<Call>& call : all) {
    names += (names.empty() ? "" : ", ") + call->kernel;
    if (call->kernel.starts_with(prefix)) out.push_back(std::move(call));
  }
  MARA_CHECK(!out.empty(), "bench: no kernel's name begins with '", prefix, "'; there are ", names);
  return out;
}

}  // namespace mara::bench
