#include "autograd/recompute.h"

#include "core/random.h"

namespace mara {
namespace {

Inputs sources(Tape& tape, const Inputs& inputs) {
  Inputs out;
  for (const Tensor& input : inputs) {
    out.push_back(input.place().owner != nullptr ? tape.source(input) : input);
  }
  return out;
}

}  // namespace

Tensor recompute(const std::function<Tensor(const Inputs&)>& fn, const Inputs& inputs) {
  if (Recording::current() == nullptr) return fn(inputs);
  RandomStream* random = RandomScope::current();
  const uint32_t first_op = random != nullptr ? random->next_op : 0;

  Probe probe;
  Tensor out;
  {
    const Recording recording(probe);
    out = fn(sources(probe, inputs));
  }
  auto backward = [fn, inputs, random, first_op](const Tensor& dy, Grads& grads) {
    Tape local;
    const uint32_t resume_op = random != nullptr ? random->next_op : 0;
    if (random != nullptr) random->next_op = first_op;
    Inputs tracked = sources(local, inputs);
    Tensor again;
    {
      const Recording recording(local);
      again = fn(tracked);
    }
    if (random != nullptr) random->next_op = resume_op;
    local.backward(again, dy, {});
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!grads.wants(static_cast<int>(i))) continue;
      const Tensor gradient = local.take_grad(tracked[i]);
      if (gradient.defined()) grads.add(static_cast<int>(i), gradient);
    }
  };
  return record_with_leaves("recompute", inputs, probe.leaves(), out.detach(), std::move(backward));
}

}  // namespace mara
