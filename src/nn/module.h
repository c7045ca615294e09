#pragma once
// A named tree of parameters. Constructing modules declares parameters without memory; ParameterArena gives them
// memory and values.

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "nn/init.h"

namespace mara::nn {

enum class Precision : uint8_t {
  compute,  // ops see a copy in the model's compute dtype
  f32,      // never rounded: norm gains, biases, filters, SSM parameters
};

/// What weight decay sees in a parameter; `optim.decay` says where it begins.
enum class Decay : uint8_t {
  never,   // filters and state-space systems
  vector,  // norm gains, biases, skips, tables
  matrix,
};

/// What the optimiser and the arena must know of a parameter, said where it is born.
struct ParamHints {
  float lr_scale = 1;                                     // times optim.lr, but
  float max_lr = std::numeric_limits<float>::infinity();  // no more than this; the schedule multiplies both
  Decay decay = Decay::matrix;
  bool trainable = true;  // false: a constant that belongs to the model (a table, a frozen feature)
  Precision precision = Precision::compute;
};

/// The usual hints of vectors: kept in f32, not decayed.
inline constexpr ParamHints kVector{.decay = Decay::vector, .precision = Precision::f32};

/// Those of filters and systems, whose learning rate is an option: kept in f32, never decayed; 0: constants.
constexpr ParamHints learned_at(double lr_scale) {
  return {.lr_scale = static_cast<float>(lr_scale),
          .decay = Decay::never,
          .trainable = lr_scale > 0,
          .precision = Precision::f32};
}

/// Lives in its module; its memory lives in the arena.
class Parameter {
 public:
  Parameter(std::string name, const Shape& shape, Init init, ParamHints hints)
      : shape_(shape), init_(std::move(init)), hints_(hints) {
    leaf_.name = std::move(name);
  }

  /// Full name ("blocks.0.mixer.in_proj.weight") once an arena has bound it.
  const std::string& name() const { return leaf_.name; }
  const Shape& shape() const { return shape_; }
  const ParamHints& hints() const { return hints_; }
  const Init& init() const { return init_; }

  /// What ops use: the compute copy, or the f32 value; a leaf of the tape if trainable.
  const Tensor& value() const { return value_; }
  const Tensor& master() const { return master_; }
  /// Gradient, valid after a backward; undefined if not trainable.
  const Tensor& grad() const { return grad_; }

 private:
  friend class ParameterArena;
  Shape shape_;
  Init init_;
  ParamHints hints_;
  Leaf leaf_;
  Tensor value_, master_, grad_;
};

class Module {
 public:
  virtual ~Module() = default;
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// Every parameter of the tree with its full name, in order of registration.
  using ParameterVisitor = std::function<void(const std::string& name, Parameter& parameter)>;
  void visit_parameters(const ParameterVisitor& visit, const std::string& prefix = "");

 protected:
  Parameter& param(std::string name, const Shape& shape, Init init, ParamHints hints = {});
  /// With an empty name the child's parameters are named as this module's own.
  template <class M>
  M& child(std::string name, std::unique_ptr<M> module) {
    M& out = *module;
    children_.push_back({std::move(name), std::move(module)});
    return out;
  }

 private:
  struct Child {
    std::string name;
    std::unique_ptr<Module> module;
  };
  std::vector<std::unique_ptr<Parameter>> parameters_;
  std::vector<Child> children_;
};

}  // namespace mara::nn
