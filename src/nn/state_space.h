#pragma once
// State-space systems as makers of filters: the part that S4, S4D and H3 share.

#include <memory>
#include <string>

#include "config/fields.h"
#include "nn/context.h"
#include "nn/module.h"
#include "nn/streaming_conv.h"
#include "ops/ssm.h"

namespace mara::nn {

/// A system in discrete time as kernels/ssm_scan.h takes it, all (H, M, 2); q and r are undefined for diagonal ones.
struct DiscreteSystem {
  Tensor lambda, b, c, q, r;
};

/// State (H, B, M, 2) of B sequences of every channel, zero at first. A copy goes on independently.
class SystemState {
 public:
  SystemState(const DiscreteSystem& system, int64_t batch);
  SystemState(const SystemState& other);
  SystemState& operator=(const SystemState&) = delete;

  /// The next T positions u (H, B, T) -> y (H, B, T), without the skip. Not differentiable.
  Tensor advance(const DiscreteSystem& system, const Tensor& u);

 private:
  Tensor data_;
};

/// The convolution with the impulse response of a system, plus skip (H) times the input.
class SystemConv final : public StreamingConv {
 public:
  SystemConv(const DiscreteSystem& system, const Tensor& skip, int64_t batch)
      : system_(system), skip_(skip.reshape({skip.size(0), 1})), state_(system, batch) {}
  std::unique_ptr<StreamingConv> clone() const override { return std::make_unique<SystemConv>(*this); }

 private:
  Tensor convolve(const Tensor& u) override;

  DiscreteSystem system_;
  Tensor skip_;
  SystemState state_;
};

/// What makes a filter of H channels' systems: diagonal (S4D) or diagonal plus low rank (S4).
class StateSpace : public Module {
 public:
  /// (R, L), R = filters per channel times H, L <= longest().
  virtual Tensor filter(int64_t length) const = 0;
  virtual int64_t longest() const { return kUnlimited; }
  /// For generating; the values of the parameters at the time of the call, computed on the host in f64. Needs one
  /// filter per channel.
  virtual DiscreteSystem discrete() const = 0;

 protected:
  static void check_one_filter(int64_t channels, int64_t filters);
};

/// What diagonal and DPLR systems have in common. As in the published models the learning rate of all but c is optim.lr
/// and no more than 1e-3.
struct SsmOptions {
  int64_t state = 64;  // N
  double dt_min = 1e-3, dt_max = 1e-1;
  int64_t systems = 0;                 // S; 0: one per channel
  double lr_scale = 1, max_lr = 1e-3;  // of all but c
  double rate = 1;

  void fields(config::Fields& f, int64_t channels);
  /// Of all parameters but c: f32, not decayed, with their own learning rate.
  ParamHints hints() const;
};

struct DiagonalSsmOptions : SsmOptions {
  std::string init = "lin";  // lin | inv | inv2 | quad | legs | real | random: see nn/ssm_init.h
  std::string discretization = "zoh";

  void fields(config::Fields& f, int64_t channels);
};

/// Diagonal systems (S4D, 2206.11893). `filters` per channel share dt, A and B and differ in C: filter c of channel h
/// is row c H + h. C is decayed like a matrix, nothing else is. The frequencies of `real` systems stay 0.
class DiagonalSsm : public StateSpace {
 public:
  DiagonalSsm(const DiagonalSsmOptions& options, int64_t channels, int64_t filters = 1);
  Tensor filter(int64_t length) const override;
  DiscreteSystem discrete() const override;

 private:
  ops::SsmParameters parameters() const;
  ops::Discretization rule() const;

  DiagonalSsmOptions options_;
  Parameter *log_dt_, *log_decay_, *frequency_, *b_, *c_;
};

}  // namespace mara::nn
