// Weights that are not all in memory at once: a pass says which part of a model it is about to use, and
// whoever keeps the weights (processes that hold a share each, mapped files) brings that part and takes it away again.
#pragma once

#include <functional>
#include <memory>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// A part is known by any of its tensors. Calls may nest.
class WeightAccess {
 public:
  virtual ~WeightAccess() = default;
  virtual void acquire(const at::Tensor& weight) = 0;
  virtual void release(const at::Tensor& weight) = 0;

  /// Whether this is a table that never comes whole: rows of it are asked for (and acquire and release do nothing).
  virtual bool by_rows(const at::Tensor& /*table*/) const { return false; }
  /// Its rows `ids` (int64, any shape, inside the table): [..., C].
  virtual at::Tensor rows(const at::Tensor& table, const at::Tensor& ids) const;
  /// Rows first, ..., first + count - 1.
  virtual at::Tensor rows_between(const at::Tensor& table, int64_t first, int64_t count) const;
};

using WeightAccessPointer = std::shared_ptr<WeightAccess>;  ///< null: all weights are always there

/// Rows `ids` of an embedding table that is there, or that `access` gives rows of; differentiable in the former case.
at::Tensor embedding_rows(const WeightAccessPointer& access, const at::Tensor& table, const at::Tensor& ids);

/// All rows of a table, which then lie in memory for as long as the result is kept.
at::Tensor whole_table(const WeightAccessPointer& access, const at::Tensor& table);

/// x W^T with an output matrix W [V, C]; one that `access` gives rows of is taken some thousand rows at a time.
at::Tensor output_product(const WeightAccessPointer& access, const at::Tensor& x, const at::Tensor& matrix);

/// body(x), with the part of `weight` there while it runs and while its backward pass runs.
at::Tensor with_weights(const WeightAccessPointer& access, const at::Tensor& weight, const at::Tensor& x,
                        const std::function<at::Tensor(const at::Tensor&)>& body);

/// The part of `weight` is there as long as this lives; for uses whose backward pass does not read the
/// weights.
class HeldWeights {
 public:
  HeldWeights(WeightAccessPointer access, const at::Tensor& weight);
  ~HeldWeights() noexcept(false);
  HeldWeights(const HeldWeights&) = delete;
  HeldWeights& operator=(const HeldWeights&) = delete;

 private:
  WeightAccessPointer access_;
  at::Tensor weight_;
};

}  // namespace ropescope
