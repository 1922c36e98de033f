#include "ropescope/train/vocabulary_loss.h"

#include <algorithm>

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kChunkBytes = int64_t{16} << 20;

class VocabularyLoss : public torch::autograd::Function<VocabularyLoss> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight,
                            const at::Tensor& targets, double scale, int64_t chunk, bool wants_hidden,
                            bool wants_weight) {
    const int64_t rows = hidden.size(0);
    at::Tensor hidden_grad, weight_grad;
    if (wants_hidden) hidden_grad = at::empty_like(hidden);
    if (wants_weight) weight_grad = at::zeros(weight.sizes(), weight.options().dtype(at::kFloat));
    at::Tensor sum = at::zeros({}, hidden.options().dtype(at::kDouble));
    for (int64_t first = 0; first < rows; first += chunk) {
      const int64_t count = std::min(chunk, rows - first);
      const at::Tensor x = hidden.narrow(0, first, count);
      const at::Tensor y = targets.narrow(0, first, count).unsqueeze(1);
      at::Tensor logits = at::mm(x, weight.t()).to(at::kFloat);
      const at::Tensor normaliser = at::logsumexp(logits, {1}, /*keepdim=*/true);
      sum += (normaliser - logits.gather(1, y)).sum(at::kDouble);
      if (!wants_hidden && !wants_weight) continue;
      // From here on `logits` is d loss / d logits: probabilities, less one at the target.
      logits.sub_(normaliser).exp_();
      logits.scatter_add_(1, y, at::zeros(y.sizes(), logits.options()).sub_(1.0));
      const at::Tensor slope = logits.mul_(scale).to(weight.scalar_type());
      if (wants_hidden) hidden_grad.narrow(0, first, count).copy_(at::mm(slope, weight));
      if (!wants_weight) continue;
      if (weight.scalar_type() == at::kFloat) {
        weight_grad.addmm_(slope.t(), x);
      } else {
        weight_grad.add_(at::mm(slope.t(), x));
      }
    }
    if (wants_weight && weight_grad.scalar_type() != weight.scalar_type()) {
      weight_grad = weight_grad.to(weight.scalar_type());
    }
    context->save_for_backward({hidden_grad, weight_grad});
    return (sum * scale).to(at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list outer) {
    const variable_list saved = context->get_saved_variables();
    const bool as_it_is = outer[0].item<double>() == 1.0;
    const auto scaled = [&](const at::Tensor& gradient) {
      if (!gradient.defined() || as_it_is) return gradient;
      return gradient * outer[0].to(gradient.scalar_type());
    };
    return {scaled(saved[0]), scaled(saved[1]), {}, {}, {}, {}, {}};
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
  const at::Tensor labels = targets.to(hidden.device());
  const at::Tensor kept = labels.ne(kIgnoredLabel).nonzero().flatten();
  const at::Tensor wanted = labels.index_select(0, kept);
  if (wanted.numel() > 0) {
    const auto lowest = wanted.min().item<int64_t>(), highest = wanted.max().item<int64_t>();
    if (lowest < 0 || highest >= vocabulary) {
      throw InputError("labels: expected ids from 0 to {}, found {}", vocabulary - 1,
                       lowest < 0 ? lowest : highest);
    }
  }
  if (chunk <= 0) chunk = std::max<int64_t>(16, kChunkBytes / (4 * vocabulary));
  const bool learns = at::GradMode::is_enabled();
  return VocabularyLoss::apply(hidden.index_select(0, kept), weight, wanted, scale, chunk,
                               learns && hidden.requires_grad(), learns && weight.requires_grad());
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
