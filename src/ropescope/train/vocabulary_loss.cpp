#include "ropescope/train/vocabulary_loss.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/autograd.h"
#include "ropescope/core/device_branch.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/kernels/in_place_gradients.h"
#include "ropescope/models/kernels/row_loops.h"

namespace ropescope {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Every chunk goes over the whole weight and its gradient, so that few large ones are faster.
constexpr int64_t kChunkBytes = int64_t{64} << 20;

// -log softmax(logits)[y], summed over the rows; `logits` [n, V] become the slope of that sum times `scale`.
// A float64 scalar where the logits lie: reading it would wait for the device, chunk after chunk.
at::Tensor take_slope(at::Tensor& logits, const at::Tensor& y, double scale) {
  if (own_cpu_kernels(logits) && logits.is_contiguous()) {
    const int64_t rows = logits.size(0), width = logits.size(1);
    std::vector<double> losses(static_cast<size_t>(rows));
    auto* values = logits.mutable_data_ptr<float>();
    const auto* targets = y.const_data_ptr<int64_t>();
    at::parallel_for(0, rows, std::max<int64_t>(1, 16384 / width), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        losses[static_cast<size_t>(i)] =
            kernels::softmax_slope(values + i * width, width, targets[i], static_cast<float>(scale));
      }
    });
    return at::scalar_tensor(std::accumulate(losses.begin(), losses.end(), 0.0), at::kDouble);
  }
  const at::Tensor normaliser = at::logsumexp(logits, {1}, /*keepdim=*/true), column = y.unsqueeze(1);
  at::Tensor sum = (normaliser - logits.gather(1, column)).sum(at::kDouble);
  logits.sub_(normaliser).exp_();
  logits.scatter_add_(1, column, at::full(column.sizes(), -1.0, logits.options()));
  logits.mul_(scale);
  return sum;
}

// to (+)= slope^T x, in float32
void add_weight_gradient(at::Tensor to, const at::Tensor& slope, const at::Tensor& x, bool is_first) {
  if (slope.scalar_type() != at::kFloat) {
    const at::Tensor part = at::mm(slope.t(), x);
    is_first ? to.copy_(part) : to.add_(part);
  } else if (is_first) {
    at::mm_out(to, slope.t(), x);
  } else {
    to.addmm_(slope.t(), x);
  }
}

class VocabularyLoss : public torch::autograd::Function<VocabularyLoss> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight,
                            const at::Tensor& targets, double scale, int64_t chunk, bool wants_hidden,
                            bool wants_weight) {
    const int64_t rows = hidden.size(0), vocabulary = weight.size(0);
    const bool in_place = wants_weight && rows > 0 && kernels::InPlaceGradients::serves(weight);
    const bool adds = in_place && weight.grad().defined();
    at::Tensor hidden_grad, weight_grad;
    if (wants_hidden) hidden_grad = at::empty_like(hidden);
    if (adds) {
      weight_grad = weight.grad();
    } else if (wants_weight) {
      const auto options = weight.options().dtype(at::kFloat).requires_grad(false);
      weight_grad = rows > 0 ? at::empty(weight.sizes(), options) : at::zeros(weight.sizes(), options);
    }
    const at::Tensor products =
        at::empty({std::min(chunk, rows), vocabulary}, hidden.options().requires_grad(false));
    const at::Tensor sum = at::zeros({}, hidden.options().dtype(at::kDouble).requires_grad(false));
    for (int64_t first = 0; first < rows; first += chunk) {
      const int64_t count = std::min(chunk, rows - first);
      const at::Tensor x = hidden.narrow(0, first, count);
      at::Tensor product = products.narrow(0, 0, count);
      at::mm_out(product, x, weight.t());
      at::Tensor logits = product.to(at::kFloat);
      sum.add_(take_slope(logits, targets.narrow(0, first, count), scale));
      if (!wants_hidden && !wants_weight) continue;
      const at::Tensor slope = logits.to(weight.scalar_type());
      if (wants_hidden) {
        at::Tensor part = hidden_grad.narrow(0, first, count);
        at::mm_out(part, slope, weight);
      }
      if (wants_weight) add_weight_gradient(weight_grad, slope, x, first == 0 && !adds);
    }
    if (in_place) {
      weight.mutable_grad() = weight_grad;
      weight_grad.reset();
    } else if (wants_weight && weight_grad.scalar_type() != weight.scalar_type()) {
      weight_grad = weight_grad.to(weight.scalar_type());
    }
    // (As plain data: autograd copies a gradient that somebody else still holds.)
    context->saved_data["hidden"] = hidden_grad;
    context->saved_data["weight"] = weight_grad;
    context->saved_data["in_place"] = in_place;
    return sum.mul(scale).to(at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list outer) {
    // (Reading a device's number would wait for it: there the gradient is scaled, by 1 as a rule.)
    const bool as_it_is = own_cpu_kernels(outer[0]) && outer[0].item<double>() == 1.0;
    if (!as_it_is && context->saved_data["in_place"].toBool()) {
      throw InternalError("vocabulary_loss: a gradient that was added in place cannot be scaled");
    }
    const auto take = [&](const char* name) {
      const auto found = context->saved_data.find(name);
      if (found == context->saved_data.end()) throw InternalError("vocabulary_loss: differentiated twice");
      at::Tensor gradient = found->second.toTensor();
      context->saved_data.erase(found);
      return !gradient.defined() || as_it_is ? gradient : gradient.mul_(outer[0].to(gradient.scalar_type()));
    };
    const at::Tensor hidden = take("hidden"), weight = take("weight");
    return {hidden, weight, {}, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor vocabulary_loss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                           double scale, int64_t chunk) {
  if (hidden.dim() != 2 || weight.dim() != 2 || targets.dim() != 1 || hidden.size(1) != weight.size(1) ||
      targets.size(0) != hidden.size(0)) {
    throw InternalError("vocabulary_loss: expected hidden [N, C], weight [V, C] and targets [N]");
  }
  const int64_t vocabulary = weight.size(0);
  // Looked at where they lie, on the host as a rule.
  const at::Tensor kept = targets.ne(kIgnoredLabel).nonzero().flatten();
  const at::Tensor wanted = targets.index_select(0, kept);
  if (wanted.numel() > 0) {
    const auto lowest = wanted.min().item<int64_t>(), highest = wanted.max().item<int64_t>();
    if (lowest < 0 || highest >= vocabulary) {
      throw InputError("labels: expected ids from 0 to {}, found {}", vocabulary - 1,
                       lowest < 0 ? lowest : highest);
    }
  }
  if (chunk <= 0) chunk = std::max<int64_t>(16, kChunkBytes / (4 * vocabulary));
  const bool learns = at::GradMode::is_enabled();
  return VocabularyLoss::apply(hidden.index_select(0, kept.to(hidden.device())), weight,
                               wanted.to(hidden.device()), scale, chunk, learns && hidden.requires_grad(),
                               learns && weight.requires_grad());
}

ShiftedLabels shift_labels(const at::Tensor& labels) {
  if (labels.dim() != 2 || labels.scalar_type() != at::kLong) {
    throw InternalError("shift_labels: expected int64 labels [batch, tokens]");
  }
  ShiftedLabels shifted;
  shifted.targets = labels.narrow(1, 1, std::max<int64_t>(labels.size(1) - 1, 0));
  shifted.count = shifted.targets.ne(kIgnoredLabel).sum().item<int64_t>();
  return shifted;
}

}  // namespace ropescope
