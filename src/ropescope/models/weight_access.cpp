#include "ropescope/models/weight_access.h"

#include <exception>
#include <string>
#include <utility>

#include "ropescope/core/autograd.h"

namespace ropescope {

namespace {

using torch::autograd::Node;
using torch::autograd::variable_list;

// The identity, whose backward pass brings weights or takes them away.
struct WeightBoundary : Node {
  WeightAccessPointer access;
  at::Tensor weight;
  bool brings = false;

  variable_list apply(variable_list&& gradients) override {
    if (brings) {
      access->acquire(weight);
    } else {
      access->release(weight);
    }
    return std::move(gradients);
  }

  void release_variables() override {
    access = nullptr;
    weight.reset();
  }

  std::string name() const override { return "ropescope::WeightBoundary"; }
};

at::Tensor boundary(const WeightAccessPointer& access, const at::Tensor& weight, const at::Tensor& x,
                    bool brings) {
  if (!torch::autograd::compute_requires_grad(x)) return x;
  const auto node = c10::make_intrusive<WeightBoundary>();
  node->access = access;
  node->weight = weight;
  node->brings = brings;
  node->set_next_edges(torch::autograd::collect_next_edges(x));
  at::Tensor y = x.detach();
  torch::autograd::set_history(y, node);
  return y;
}

}  // namespace

at::Tensor with_weights(const WeightAccessPointer& access, const at::Tensor& weight, const at::Tensor& x,
                        const std::function<at::Tensor(const at::Tensor&)>& body) {
  if (!access) return body(x);
  at::Tensor y;
  {
    const HeldWeights held(access, weight);
    y = body(boundary(access, weight, x, /*brings=*/false));
  }
  return y.defined() ? boundary(access, weight, y, /*brings=*/true) : y;
}

HeldWeights::HeldWeights(WeightAccessPointer access, const at::Tensor& weight)
    : access_(std::move(access)), weight_(weight) {
  if (access_) access_->acquire(weight_);
}

HeldWeights::~HeldWeights() noexcept(false) {
  if (!access_) return;
  if (std::uncaught_exceptions() == 0) {
    access_->release(weight_);
    return;
  }
  try {
    access_->release(weight_);
  } catch (const std::exception&) {
    // The error that is on its way counts.
  }
}

}  // namespace ropescope
