// What a training run needs to know of a model and its data, whatever they are.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/tensor_slots.h"
#include "ropescope/models/weight_access.h"
#include "ropescope/train/trainer.h"

namespace ropescope {

/// What the rows hold together.
struct RowTotals {
  int64_t tokens = 0;   ///< of text
  int64_t targets = 0;  ///< after the shift
  int64_t images = 0;
  int64_t image_tokens = 0;  ///< at most: as if every image filled its largest grid
  int64_t tower_tokens = 0;  ///< of these images in the vision tower, before any are merged
  int64_t longest = 0;       ///< tokens of the longest row, its images counted so

  void add(const std::vector<int64_t>& labels) {
    tokens += static_cast<int64_t>(labels.size());
    for (size_t i = 1; i < labels.size(); ++i) targets += labels[i] >= 0 ? 1 : 0;
  }
};

class TrainedModel {
 public:
  virtual ~TrainedModel() = default;

  /// Every tensor that a checkpoint holds, trained or not; a tied output matrix is none of its own.
  virtual std::vector<TensorSlot> slots() = 0;
  /// Of these, what a checkpoint holds: all, or with adapters what is trained.
  virtual std::vector<TensorSlot> saved_slots() { return slots(); }
  /// Who brings weights that are not all there; passes ask it from then on.
  virtual void set_weight_access(const WeightAccessPointer& access) = 0;
  /// After slots were given other tensors: what is tied is tied again.
  virtual void after_load() {}
  /// What the model file holds beyond the slots (parts that the forward pass never reads), for checkpoints.
  virtual std::map<std::string, at::Tensor> unused_weights() const { return {}; }

  virtual int64_t rows() const = 0;
  /// Tokens of each row, negative for rows without an image.
  virtual std::vector<int64_t> lengths() const = 0;
  virtual RowTotals totals() const = 0;
  /// SHA-256 of all that the rows are.
  virtual std::string fingerprint() const = 0;
  virtual std::string row_name(int64_t row) const = 0;

  /// Rows that go through the model together. The micro-batch owns what it needs; the model must live as
  /// long. Rows that turn out to be unreadable are left out.
  virtual Trainer::Micro micro(const std::vector<int64_t>& rows) = 0;
  /// Rows that will be asked for soon, in order: files may be read ahead.
  virtual void prefetch(const std::vector<int64_t>& rows) { static_cast<void>(rows); }
};

}  // namespace ropescope
