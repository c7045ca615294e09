#include "autograd/tape.h"

#include <algorithm>
#include <ranges>
#include <stdexcept>

#include "kernels/kernels.h"

namespace mara {
namespace {

thread_local Tape* active_tape = nullptr;

Leaf* leaf_of(const Place& place) {
  // Leaves are handed out const by Leaf::track; only the tape writes their gradient.
  return place.owner != nullptr && place.node < 0 ? const_cast<Leaf*>(static_cast<const Leaf*>(place.owner)) : nullptr;
}

void copy(const View& from, const View& to, bool accumulate, Device device) {
  auto [k, stream] = kernels::on(device);
  k.copy(stream, {.x = from, .y = to, .accumulate = accumulate});
}

void zero_gaps(GradBuffer& grad, int64_t begin, int64_t end) {
  auto [k, stream] = kernels::on(grad.data.device());
  for (const auto& [low, high] : grad.written.gaps(begin, end)) {
    k.fill(stream, {.y = grad.data.narrow(low, high - low).view(), .value = 0});
  }
  grad.written.add(begin, end);
}

}  // namespace

void zero_unwritten(GradBuffer& grad) { zero_gaps(grad, 0, grad.data.numel()); }

// ---- recording ----

Recording::Recording(Tape* tape) : previous_(active_tape) { active_tape = tape; }
Recording::~Recording() { active_tape = previous_; }
Tape* Recording::current() { return active_tape; }

bool will_record(std::initializer_list<Tensor> inputs) {
  if (active_tape == nullptr) return false;
  for (const Tensor& input : inputs) {
    if (input.place().owner != nullptr) return true;
  }
  return false;
}

void Tape::use(Leaf* leaf, Node& node) {
  if (!seen_.insert(leaf).second) return;
  leaves_.push_back(leaf);
  node.first_uses.push_back(leaf);
}

Tensor Tape::append(const char* op, const Tensor* inputs, size_t count, const std::vector<Leaf*>& leaves, Tensor out,
                    Backward backward) {
  Node node{op, out.shape(), out.dtype(), out.device(), {}, {}, {}, {}};
  bool tracked = !leaves.empty();
  node.inputs.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const Place& place = inputs[i].place();
    if (place.owner != nullptr && place.node >= 0 && place.owner != this) {
      throw std::logic_error(std::string("internal error: ") + op +
                             " uses a tensor of another tape; recompute must list every tracked input");
    }
    tracked |= place.owner != nullptr;
    node.inputs.push_back({place, inputs[i].shape()});
  }
  out = out.detach();
  if (!tracked) return out;
  for (const Input& input : node.inputs) {
    if (Leaf* leaf = leaf_of(input.place)) use(leaf, node);
  }
  for (Leaf* leaf : leaves) use(leaf, node);
  if (keeps_closures_) node.backward = std::move(backward);
  nodes_.push_back(std::move(node));
  out.set_place({this, static_cast<int32_t>(nodes_.size() - 1), 0});
  return out;
}

Tensor record(const char* op, std::initializer_list<Tensor> inputs, Tensor out, Backward backward) {
  const bool is_view =
      std::any_of(inputs.begin(), inputs.end(), [&](const Tensor& input) { return input.storage() == out.storage(); });
  if (!is_view) out.storage()->label = op;
  if (active_tape == nullptr) return out;
  return active_tape->append(op, inputs.begin(), inputs.size(), {}, std::move(out), std::move(backward));
}

Tensor record_with_leaves(const char* op, const std::vector<Tensor>& inputs, const std::vector<Leaf*>& leaves,
                          Tensor out, Backward backward) {
  if (active_tape == nullptr) return out;
  return active_tape->append(op, inputs.data(), inputs.size(), leaves, std::move(out), std::move(backward));
}

Tensor Tape::source(const Tensor& value) {
  Tensor out = value.detach();
  nodes_.push_back({"source", out.shape(), out.dtype(), out.device(), {}, {}, {}, {}});
  out.set_place({this, static_cast<int32_t>(nodes_.size() - 1), 0});
  return out;
}

// ---- walking back ----

GradBuffer& Tape::buffer(const Place& place) {
  if (Leaf* leaf = leaf_of(place)) return leaf->grad;
  return nodes_[static_cast<size_t>(place.node)].grad;
}

// The gradient buffer of a place, made if it does not exist and unshared if another gradient uses the same memory.
Tensor Tape::allocate_grad(const Place& place) {
  GradBuffer& grad = buffer(place);
  if (leaf_of(place) != nullptr) return grad.data;
  const Node& node = nodes_[static_cast<size_t>(place.node)];
  const bool shared = grad.data.defined() && grad.data.storage().use_count() > 1;
  if (!grad.data.defined() || shared) {
    Tensor fresh = Tensor::empty({node.shape.numel()}, node.dtype, node.device, "gradient");
    if (shared) copy(grad.data.view(), fresh.view(), false, node.device);
    grad.data = fresh;
  }
  return grad.data;
}

Dtype Tape::grad_dtype(const Place& place) {
  if (Leaf* leaf = leaf_of(place)) return leaf->grad.data.dtype();
  return nodes_[static_cast<size_t>(place.node)].dtype;
}

bool Tape::untouched(const Place& place, const Shape& shape) {
  const Intervals::Range range{place.offset, place.offset + shape.numel()};
  const std::vector<Intervals::Range> gaps = buffer(place).written.gaps(range.first, range.second);
  return gaps.size() == 1 && gaps[0] == range;
}

Grads::Slot Tape::slot(const Place& place, const Shape& shape) {
  const bool first = untouched(place, shape);
  const Tensor whole = allocate_grad(place);
  GradBuffer& grad = buffer(place);
  const int64_t begin = place.offset, end = begin + shape.numel();
  if (!first) zero_gaps(grad, begin, end);
  grad.written.add(begin, end);
  return {whole.narrow(begin, end - begin).reshape(shape).view(), !first};
}

// The first gradient that covers a whole node is taken over without a copy.
void Tape::add(const Place& place, const Tensor& gradient) {
  GradBuffer& grad = buffer(place);
  if (leaf_of(place) == nullptr && !grad.data.defined()) {
    const Node& base = nodes_[static_cast<size_t>(place.node)];
    if (base.shape.numel() == gradient.numel() && base.dtype == gradient.dtype() && gradient.contiguous()) {
      grad.data = gradient.detach().reshape({gradient.numel()});
      grad.written.add(0, gradient.numel());
      return;
    }
  }
  const Grads::Slot to = slot(place, gradient.shape());
  copy(gradient.view(), to.dst, to.accumulate, gradient.device());
}

const Place& Grads::place(int input) const {
  return tape_.nodes_[static_cast<size_t>(node_)].inputs[static_cast<size_t>(input)].place;
}
const Shape& Grads::shape(int input) const {
  return tape_.nodes_[static_cast<size_t>(node_)].inputs[static_cast<size_t>(input)].shape;
}
bool Grads::wants(int input) const { return place(input).owner != nullptr; }
bool Grads::untouched(int input) const { return tape_.untouched(place(input), shape(input)); }
Dtype Grads::dtype(int input) const { return tape_.grad_dtype(place(input)); }
Grads::Slot Grads::slot(int input) { return tape_.slot(place(input), shape(input)); }

void Grads::add(int input, const Tensor& gradient) {
  if (!wants(input)) return;
  if (!(gradient.shape() == shape(input))) {
    throw std::logic_error(std::string("internal error: backward of ") + tape_.nodes_[static_cast<size_t>(node_)].op +
                           " gave input " + std::to_string(input) + " a gradient of shape " +
                           to_string(gradient.shape()) + ", it has " + to_string(shape(input)));
  }
  tape_.add(place(input), gradient);
}

void Tape::backward(const Tensor& out, const Tensor& dy, const LeafReady& on_ready) {
  const NoGrad no_grad;
  Tensor seed = dy;
  if (!seed.defined()) {
    MARA_CHECK(out.numel() == 1, "backward: a loss with one element is required, got ", out.shape());
    seed = Tensor::empty(out.shape(), out.dtype(), out.device());
    auto [k, stream] = kernels::on(out.device());
    k.fill(stream, {.y = seed.view(), .value = 1});
  }
  MARA_CHECK(seed.shape() == out.shape(), "backward: a gradient of shape ", out.shape(), " is required, got ",
             seed.shape());
  if (out.place().owner != nullptr) {
    if (out.place().owner != this) {
      throw std::logic_error("internal error: backward from a tensor that this tape did not make");
    }
    add(out.place(), seed);
  }
  seed = Tensor();
  for (int32_t i = static_cast<int32_t>(nodes_.size()) - 1; i >= 0; --i) {
    Node& node = nodes_[static_cast<size_t>(i)];
    const bool reached = !node.grad.written.empty();
    if (node.backward && reached) {
      zero_unwritten(node.grad);
      const Tensor gradient = node.grad.data.reshape(node.shape);
      node.grad.data = Tensor();
      Grads grads(*this, i);
      const ErrorContext frame(std::string("backward of ") + node.op);
      node.backward(gradient, grads);
    }
    for (Leaf* leaf : std::views::reverse(node.first_uses)) {
      zero_unwritten(leaf->grad);
      if (on_ready) on_ready(*leaf);
    }
    const bool is_source = node.inputs.empty() && !node.backward;
    if (!is_source) node = {};  // frees what the closure saved
  }
  while (!nodes_.empty() && nodes_.back().op == nullptr) nodes_.pop_back();
  leaves_.clear();
  seen_.clear();
}

Tensor Tape::take_grad(const Tensor& source) {
  Node& node = nodes_[static_cast<size_t>(source.place().node)];
  if (node.grad.written.empty()) return Tensor();
  zero_unwritten(node.grad);
  Tensor gradient = node.grad.data.reshape(node.shape);
  node.grad = {};
  return gradient;
}

}  // namespace mara
