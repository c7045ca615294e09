#pragma once
// Reverse-mode differentiation on a linear tape.
//
// Ops are recorded in execution order, so walking from the end is a valid order. A node keeps the places of its
// inputs and output, never their data; data is held by the closure alone, and a node is destroyed as soon as it has
// run, which frees its saved activations at the earliest point. The gradient of a leaf is final exactly when the
// walk passes the node of its first use: no counting, also for tied weights and looped blocks.

#include <functional>
#include <initializer_list>
#include <string>
#include <unordered_set>
#include <vector>

#include "autograd/intervals.h"
#include "core/tensor.h"

namespace mara {

/// A gradient and which of its elements have been written: the first contribution to an element overwrites, later
/// ones accumulate, what nothing reached is zeroed at the end. No zero-fill pass, no temporary.
struct GradBuffer {
  Tensor data;  // flat; not yet allocated if undefined
  Intervals written;
};

/// A parameter as autograd sees it: where its gradient lives.
struct Leaf {
  std::string name;
  GradBuffer grad;  // data is a range of the parameter arena, f32 or f64

  /// The tensor as an input of ops whose gradient goes to this leaf.
  Tensor track(Tensor value) const {
    value.set_place({this, -1, 0});
    return value;
  }
};

class Tape;

/// Handed to a backward closure: where the gradients of the op's inputs go.
class Grads {
 public:
  /// False for inputs that need no gradient: skip the work.
  bool wants(int input) const;
  /// Adds a gradient of the input's shape. The first whole one is taken over without a copy.
  void add(int input, const Tensor& grad);

  struct Slot {
    View dst;         // shape of the input, contiguous; dtype of the gradient (f32 or f64 for parameters)
    bool accumulate;  // false: every element must be overwritten
  };
  /// For kernels that write a gradient where it lives. The caller must write all of dst.
  Slot slot(int input);
  /// True if nothing has been written to the input's gradient yet: slot(input) would not accumulate.
  bool untouched(int input) const;
  /// Dtype of the input's gradient: the input's own, but f32 for a bf16 parameter.
  Dtype dtype(int input) const;

 private:
  friend class Tape;
  Grads(Tape& tape, int32_t node) : tape_(tape), node_(node) {}
  const Place& place(int input) const;
  const Shape& shape(int input) const;
  Tape& tape_;
  int32_t node_;
};

using Backward = std::function<void(const Tensor& dy, Grads& grads)>;

class Tape {
 public:
  using LeafReady = std::function<void(Leaf&)>;

  Tape() = default;
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// Walks the tape from the end with gradient `dy` of `out` (default: 1, `out` must then have one element) and empties
  /// it. Calls `on_ready` once per leaf used, when its gradient is final.
  void backward(const Tensor& out, const LeafReady& on_ready = {}) { backward(out, Tensor(), on_ready); }
  void backward(const Tensor& out, const Tensor& dy, const LeafReady& on_ready);

  /// Makes `value` an input whose gradient can be taken after backward. Undefined if nothing reached it.
  Tensor source(const Tensor& value);
  Tensor take_grad(const Tensor& source);

  /// Leaves used since the tape was made, in order of first use.
  const std::vector<Leaf*>& leaves() const { return leaves_; }

 private:
  friend class Grads;
  friend class Probe;
  friend Tensor record(const char* op, std::initializer_list<Tensor> inputs, Tensor out, Backward backward);
  friend Tensor record_with_leaves(const char* op, const std::vector<Tensor>& inputs, const std::vector<Leaf*>& leaves,
                                   Tensor out, Backward backward);

  struct Input {
    Place place;  // owner null: no gradient wanted
    Shape shape;
  };
  struct Node {
    const char* op;
    Shape shape;
    Dtype dtype;
    Device device;
    std::vector<Input> inputs;
    Backward backward;
    GradBuffer grad;
    std::vector<Leaf*> first_uses;
  };

  Tensor append(const char* op, const Tensor* inputs, size_t count, const std::vector<Leaf*>& leaves, Tensor out,
                Backward backward);
  void use(Leaf* leaf, Node& node);
  GradBuffer& buffer(const Place& place);
  Dtype grad_dtype(const Place& place);
  Tensor allocate_grad(const Place& place);
  bool untouched(const Place& place, const Shape& shape);
  Grads::Slot slot(const Place& place, const Shape& shape);
  void add(const Place& place, const Tensor& gradient);

  std::vector<Node> nodes_;
  std::vector<Leaf*> leaves_;
  std::unordered_set<const Leaf*> seen_;
  bool keeps_closures_ = true;
};

/// Returns `out`, recorded if a tape is active and any input is tracked. One output per node. An absent optional
/// input is an undefined tensor.
Tensor record(const char* op, std::initializer_list<Tensor> inputs, Tensor out, Backward backward);
/// The same with parameters that the op uses without listing them (recompute).
Tensor record_with_leaves(const char* op, const std::vector<Tensor>& inputs, const std::vector<Leaf*>& leaves,
                          Tensor out, Backward backward);

/// True if an op on these inputs would be recorded now: gradients will be asked for.
bool will_record(std::initializer_list<Tensor> inputs);

/// Sets what is not yet written of a leaf's gradient to zero.
void zero_unwritten(GradBuffer& grad);

/// While in scope, ops are recorded on the tape.
class Recording {
 public:
  explicit Recording(Tape& tape) : Recording(&tape) {}
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  static Tape* current();

 protected:
  explicit Recording(Tape* tape);

 private:
  Tape* previous_;
};

/// While in scope, nothing is recorded.
class NoGrad : public Recording {
 public:
  NoGrad() : Recording(nullptr) {}
};

/// A tape that keeps no closures: only which leaves are used. What recompute runs its forward under.
class Probe : public Tape {
 public:
  Probe() { keeps_closures_ = false; }
};

}  // namespace mara
