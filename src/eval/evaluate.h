#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "models/model.h"
#include "tasks/rows.h"

namespace mara::eval {

/// Numbered examples to score a model on. `example` is called from several threads.
struct Examples {
  int64_t count = 0;
  ExampleForm form;
  std::function<void(int64_t index, const tasks::Row& row)> example;
  /// Bytes of a token's text, 0 for tokens that are not text. Null where no token is.
  std::function<int64_t(int32_t token)> bytes = nullptr;
  /// How far back the answer to a scored position is, see tasks::Task. Null where that has no meaning.
  std::function<int64_t(std::span<const int32_t> ids, int64_t position)> distance = nullptr;
  /// Estimates to compare with, see tasks::Task. Null where no values are predicted.
  std::function<void(const tasks::Row& row, std::span<float> estimates)> reference = nullptr;
};

struct Evaluation {
  int64_t examples = 0;
  int64_t scored = 0;  // positions
  double loss = 0;     // mean over the scored positions: nats, of values the squared error
  /// Fraction of the scored positions whose argmax is the target. Absent of values.
  std::optional<double> accuracy;
  double exact = 0;   // fraction of the examples of which every scored position is right, exact match
  int64_t bytes = 0;  // of the scored text
  /// Loss of the tokens that are text, in bits, per byte of it: comparable between tokenizers. Absent without text.
  std::optional<double> bits_per_byte;
  std::optional<double> reference;  // of values: the squared error of the best known method

  double perplexity() const { return std::exp(loss); }  // per token
};

/// Scored positions that have something in common.
struct Group {
  int64_t scored = 0, right = 0;
  double loss_sum = 0, reference_sum = 0;

  double accuracy() const { return static_cast<double>(right) / static_cast<double>(scored); }
  double loss() const { return loss_sum / static_cast<double>(scored); }
  double reference() const { return reference_sum / static_cast<double>(scored); }
  void add(const Group& other);
};
using Groups = std::map<int64_t, Group>;

/// Where in an example a model is right.
struct Breakdown {
  Groups by_position;   // 0-based
  Groups by_distance;   // of the answer; empty where that has no meaning
  bool values = false;  // real numbers are predicted: no group is ever right
};

/// Runs the model on all examples, `batch` at a time, without recording. Also fills `breakdown`, if given.
Evaluation evaluate(models::Model& model, const Examples& examples, int64_t batch, Device device,
                    Breakdown* breakdown = nullptr);

/// "accuracy 98.20 %", of text "2.312 bits per byte", of values "squared error 0.2113, 0.1872 is possible".
std::string quality_text(const Evaluation& evaluation);

}  // namespace mara::eval
