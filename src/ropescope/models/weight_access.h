// Weights that are not all in memory at once: a pass says which part of a model it is about to use, and
// whoever keeps the weights (processes that hold a share each) brings that part and takes it away again.
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
};

using WeightAccessPointer = std::shared_ptr<WeightAccess>;  ///< null: all weights are always there

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
