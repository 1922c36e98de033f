#include "ropescope/models/weight_access.h"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ops/cat.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/kernels/in_place_gradients.h"
#include "ropescope/models/kernels/linear.h"

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

// Rows of an output matrix at a time: enough for the product's full speed, few enough to be small beside a layer.
constexpr int64_t kOutputRows = 8192;

}  // namespace

at::Tensor WeightAccess::rows(const at::Tensor& /*table*/, const at::Tensor& /*ids*/) const {
  throw InternalError("weights: rows were asked of a table that comes whole");
}

at::Tensor WeightAccess::rows_between(const at::Tensor& /*table*/, int64_t /*first*/,
                                      int64_t /*count*/) const {
  throw InternalError("weights: rows were asked of a table that comes whole");
}

at::Tensor embedding_rows(const WeightAccessPointer& access, const at::Tensor& table, const at::Tensor& ids) {
  return access && access->by_rows(table) ? access->rows(table, ids) : kernels::embedding(table, ids);
}

at::Tensor whole_table(const WeightAccessPointer& access, const at::Tensor& table) {
  return access && access->by_rows(table) ? access->rows_between(table, 0, table.size(0)) : table;
}

at::Tensor output_product(const WeightAccessPointer& access, const at::Tensor& x, const at::Tensor& matrix) {
  if (!access || !access->by_rows(matrix)) return kernels::linear(x, matrix, {});
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < matrix.size(0); first += kOutputRows) {
    const int64_t count = std::min(kOutputRows, matrix.size(0) - first);
    parts.push_back(kernels::linear(x, access->rows_between(matrix, first, count), {}));
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, -1);
}

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
