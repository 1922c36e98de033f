#include "quick_decoder.h"

#include <algorithm>
#include <numeric>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "ropescope/models/kernels/row_loops.h"

#include "quick_layer.h"
#include "quick_sums.h"
#include "small_products.h"

namespace ropescope::miniature {

bool is_quick(const Decoder& decoder, const PassEncoding& encoding) {
  const DecoderConfig& config = decoder.config;
  if (encoding.changes_attention() || encoding.rotary.empty()) return false;
  for (const RotaryTable& table : encoding.rotary) {
    if (!table.turns()) continue;
    const at::IntArrayRef sizes = table.cos.sizes();
    if (table.layout != PairLayout::kHalfSplit || sizes[0] != 1 ||
        (sizes[1] != 1 && sizes[1] != config.num_attention_heads) || !table.cos.is_contiguous() ||
        !table.sin.is_contiguous()) {
      return false;
    }
  }
  const int64_t width = config.hidden_size, heads = config.num_attention_heads;
  for (const int64_t size :
       {width, config.intermediate_size, width / heads, decoder.weights.lm_head.size(0)}) {
    if (size % 16 != 0) return false;
  }
  return width % heads == 0 && config.num_key_value_heads == heads && config.norm == NormKind::kRms &&
         config.activation == GateActivation::kSilu;
}

QuickPass::QuickPass(const Decoder& decoder, const PassEncoding& encoding, int64_t tokens,
                     std::vector<int64_t> wanted)
    : decoder_(decoder), sizes_(quick_sizes(decoder.config)), tokens_(tokens), wanted_(std::move(wanted)) {
  const size_t layers = decoder.weights.layers.size();
  weights_.resize(layers);
  std::vector<int64_t> all(static_cast<size_t>(tokens));
  std::iota(all.begin(), all.end(), int64_t{0});
  for (size_t l = 0; l < layers; ++l) {
    angles_.emplace_back(encoding.table(static_cast<int64_t>(l)));
    layers_.emplace_back(sizes_, tokens, l + 1 == layers ? wanted_ : all);
  }
  const size_t words = static_cast<size_t>(decoder.weights.lm_head.size(0)), n = wanted_.size(),
               width = static_cast<size_t>(sizes_.width);
  scale_.resize(n);
  head_across_.resize(words * width);
  hidden_.resize(n * width);
  dhidden_.resize(n * width);
  logits_.resize(n * words);
  above_.resize(static_cast<size_t>(tokens) * width);
  below_.resize(static_cast<size_t>(tokens) * width);
}

std::vector<at::Tensor> QuickPass::parameters() const { return quick_parameters(decoder_); }

void QuickPass::read_weights() {
  for (size_t l = 0; l < weights_.size(); ++l) weights_[l].read(decoder_.weights.layers[l], sizes_);
}

// x [T, C] -> hidden [n, C]
void QuickPass::forward(const float* x, float* hidden) {
  for (size_t l = 0; l < layers_.size(); ++l) x = layers_[l].forward(weights_[l], angles_[l], x);
  last_ = x;
  norm_rows(x, decoder_.weights.norm.const_data_ptr<float>(), hidden, scale_.data(),
            static_cast<int64_t>(wanted_.size()), sizes_.width, sizes_.eps);
}

// dhidden [n, C] -> dx [T, C]; gradients are added.
void QuickPass::backward(const float* dhidden, const std::vector<QuickGradients>& gradients, float* dnorm,
                         float* dx) {
  const auto n = static_cast<int64_t>(wanted_.size());
  std::fill_n(above_.begin(), n * sizes_.width, 0.0f);
  norm_rows_backward(dhidden, last_, decoder_.weights.norm.const_data_ptr<float>(), scale_.data(),
                     above_.data(), dnorm, n, sizes_.width);
  for (size_t l = layers_.size(); l-- > 0;) {
    layers_[l].backward(weights_[l], angles_[l], gradients[l], above_.data(), l == 0 ? dx : below_.data());
    std::swap(above_, below_);
  }
}

at::Tensor QuickPass::hidden(const at::Tensor& embeddings) {
  const int64_t pictures = embeddings.size(0), step = tokens_ * sizes_.width,
                n = static_cast<int64_t>(wanted_.size());
  const at::Tensor x = embeddings.contiguous(), result = at::empty({pictures, n, sizes_.width});
  read_weights();
  for (int64_t picture = 0; picture < pictures; ++picture) {
    forward(x.const_data_ptr<float>() + picture * step,
            result.mutable_data_ptr<float>() + picture * n * sizes_.width);
  }
  return result;
}

QuickPass::Gradients QuickPass::gradients(const at::Tensor& embeddings, const at::Tensor& targets,
                                          const std::vector<float>& weights) {
  const int64_t pictures = embeddings.size(0), width = sizes_.width, step = tokens_ * width,
                n = static_cast<int64_t>(wanted_.size());
  const int64_t words = decoder_.weights.lm_head.size(0);
  const auto* head = decoder_.weights.lm_head.const_data_ptr<float>();
  const QuickSums sums(decoder_);
  Gradients result;
  result.parts.resize(wanted_.size());
  result.embeddings = at::empty({pictures, tokens_, width});
  read_weights();
  transpose(head, width, words, width, head_across_.data(), words);
  const at::Tensor x = embeddings.contiguous(), wanted = targets.contiguous();
  for (int64_t picture = 0; picture < pictures; ++picture) {
    forward(x.const_data_ptr<float>() + picture * step, hidden_.data());
    multiply({hidden_.data(), width, 1}, head_across_.data(), words, logits_.data(), words, n, words, width,
             false);
    const int64_t* target = wanted.const_data_ptr<int64_t>() + picture * n;
    for (int64_t i = 0; i < n; ++i) {
      const float weight = weights[static_cast<size_t>(i)];
      const double part = kernels::softmax_slope(logits_.data() + i * words, words, target[i], weight);
      result.parts[static_cast<size_t>(i)] += part;
      result.loss += static_cast<double>(weight) * part;
    }
    multiply({logits_.data(), words, 1}, head, width, dhidden_.data(), width, n, width, words, false);
    multiply({logits_.data(), 1, words}, hidden_.data(), width, sums.head(), width, words, width, n, true);
    backward(dhidden_.data(), sums.places(), sums.norm(),
             result.embeddings.mutable_data_ptr<float>() + picture * step);
  }
  result.parameters = sums.list();
  return result;
}

QuickLoss QuickPass::loss(const at::Tensor& embeddings, const at::Tensor& targets,
                          const std::vector<float>& weights) {
  QuickLoss result;
  Gradients found;
  {
    const at::NoGradGuard no_grad;
    found = gradients(embeddings, targets, weights);
  }
  result.parts = std::move(found.parts);
  result.loss = quick_loss(decoder_, embeddings, std::move(found));
  return result;
}

}  // namespace ropescope::miniature
