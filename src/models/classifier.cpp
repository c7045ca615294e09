#include "models/classifier.h"

#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/select.h"
#include "ops/shape_ops.h"

namespace mara::models {

void ClassifierOptions::fields(config::Fields& f, const ModelSetup& setup) {
  f.field("pooling", pooling, "what stands for the whole sequence: the mean of its positions, or the last",
          config::one_of({"mean", "last"}));
  backbone.fields(f, setup);
  f.require(setup.targets == 1 && !setup.values, "kind",
            "a classifier needs one class per example, this task has others; use " +
                std::string(setup.values ? "regressor" : "language_model"));
}

std::unique_ptr<Model> ClassifierOptions::make(const ModelSetup& setup) const {
  return std::make_unique<Classifier>(*this, setup);
}

Classifier::Classifier(const ClassifierOptions& options, const ModelSetup& setup)
    : options_(options),
      padded_(setup.padded),
      backbone_(&child("", std::make_unique<Backbone>(options.backbone, setup, setup.vocabulary))),
      head_(param("head", {setup.classes, options.backbone.width}, nn::Init::normal(options.backbone.init_std))) {}

Tensor Classifier::pool(const Tensor& x, const Tensor& ids) const {
  const int64_t batch = x.size(0), length = x.size(1), width = x.size(2);
  const bool mean = options_.pooling == "mean";
  if (!padded_) {
    return mean ? ops::mean(x, 1) : ops::contiguous(ops::slice(x, 1, length - 1, 1)).reshape({batch, width});
  }
  const auto full = [&](const Shape& shape, double value) { return ops::full(shape, value, x.dtype(), x.device()); };
  // 1 at what is no padding, or at the last such position alone: where the next one is none.
  const Tensor none = full({batch, length}, 0);
  Tensor weight = ops::select(ids, full({batch, length}, 1), none);
  const Tensor count = ops::sum(ops::cast(weight, compute_dtype(x.dtype())), 1);
  if (!mean && length > 1) {
    const Tensor next = ops::concat({ops::slice(weight, 1, 1, length - 1), full({batch, 1}, 0)}, 1);
    weight = ops::add(weight, ops::scale(next, -1));
  }
  const Tensor sum = ops::matmul(weight.reshape({batch, 1, length}), x);
  if (!mean) return sum.reshape({batch, width});
  const Tensor share = ops::cast(ops::reciprocal(count), x.dtype()).reshape({batch, 1, 1});
  return ops::matmul(share, sum).reshape({batch, width});
}

ops::Loss Classifier::loss(const Batch& batch, const nn::Context& context, bool predictions) {
  const Tensor x = pool(backbone_->forward(batch, context), batch.ids);
  return ops::linear_cross_entropy(x, head_.value(), batch.targets.reshape({batch.targets.numel()}), predictions);
}

}  // namespace mara::models
