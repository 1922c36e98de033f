#include "ropescope/models/kernels/in_place_gradients.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <ATen/ops/mm.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/device_branch.h"

namespace ropescope::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

thread_local bool in_place = false;

/// Gradients of rows are added to those of the table that are there already (of a tied output matrix, or of
/// another micro-batch) without a whole table of mostly zeros in between.
class Embedding : public torch::autograd::Function<Embedding> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& table, const at::Tensor& ids) {
    context->save_for_backward({table, ids});
    return at::embedding(table, ids);
  }

  static variable_list backward(AutogradContext* context, variable_list outer) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &table = saved[0], &ids = saved[1];
    if (InPlaceGradients::serves(table) && table.grad().defined()) {
      table.mutable_grad().index_add_(0, ids.flatten(), outer[0].reshape({-1, table.size(1)}));
      return {at::Tensor(), at::Tensor()};
    }
    return {at::embedding_dense_backward(outer[0], ids, table.size(0), /*padding_idx=*/-1,
                                         /*scale_grad_by_freq=*/false),
            at::Tensor()};
  }
};

}  // namespace

InPlaceGradients::InPlaceGradients() : before_(in_place) { in_place = true; }
InPlaceGradients::~InPlaceGradients() { in_place = before_; }
bool InPlaceGradients::active() { return in_place; }

bool InPlaceGradients::serves(const at::Tensor& weight) {
  if (!in_place || !weight.is_leaf() || !weight.requires_grad() || !own_cpu_kernels(weight) ||
      weight.scalar_type() != at::kFloat || !weight.is_contiguous() ||
      torch::autograd::impl::post_acc_grad_hooks(weight) != nullptr) {
    return false;
  }
  const at::Tensor& gradient = weight.grad();
  return !gradient.defined() || gradient.is_contiguous();
}

at::Tensor weight_gradient(const at::Tensor& weight, const at::Tensor& dy, const at::Tensor& x) {
  if (InPlaceGradients::serves(weight) && weight.grad().defined()) {
    weight.mutable_grad().addmm_(dy.t(), x);
    return {};
  }
  return at::mm(dy.t(), x);
}

at::Tensor embedding(const at::Tensor& table, const at::Tensor& ids) {
  if (!at::GradMode::is_enabled() || !table.requires_grad()) return at::embedding(table, ids);
  return Embedding::apply(table, ids);
}

}  // namespace ropescope::kernels
