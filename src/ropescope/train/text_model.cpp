#include "ropescope/train/text_model.h"

#include <algorithm>
#include <utility>

#include <ATen/core/Reduction.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/train/compute_type.h"
#include "ropescope/train/lora.h"
#include "ropescope/train/vocabulary_loss.h"

namespace ropescope {

namespace {

bool padded(const TextBatch& batch) {
  return batch.attention_mask.defined() && !batch.attention_mask.ne(0).all().item<bool>();
}

/// One row without its padding.
at::Tensor row_of(const TextBatch& batch, const at::Tensor& tensor, int64_t row) {
  const int64_t length = batch.attention_mask.defined()
                             ? batch.attention_mask[row].ne(0).sum().item<int64_t>()
                             : batch.input_ids.size(1);
  return tensor.narrow(0, row, 1).narrow(1, 0, length);
}

at::Tensor packed_loss(const Decoder& decoder, const TextBatch& batch, const PassEncoding& longest,
                       double scale, const ModelLossOptions& options) {
  const at::Tensor real = batch.attention_mask.ne(0), counts = real.sum(1);
  // No text has a target that the text before it would have to tell.
  const at::Tensor labels = batch.labels.clone();
  labels.select(1, 0).fill_(kIgnoredLabel);
  ForwardInput input;
  input.input_ids = batch.input_ids.masked_select(real).unsqueeze(0);
  const auto* lengths = counts.const_data_ptr<int64_t>();
  input.segment_lengths.assign(lengths, lengths + counts.numel());
  const PassEncoding encoding = packed_encoding(longest, input.segment_lengths);
  input.encoding = &encoding;
  return decoder_loss(decoder, input, labels.masked_select(real).unsqueeze(0), scale, options);
}

at::Tensor loss_by_row(const Decoder& decoder, const TextBatch& batch, double scale,
                       const ModelLossOptions& options) {
  at::Tensor sum;
  for (int64_t row = 0; row < batch.input_ids.size(0); ++row) {
    ForwardInput input;
    input.input_ids = row_of(batch, batch.input_ids, row);
    const at::Tensor labels = row_of(batch, batch.labels, row);
    if (labels.size(1) < 2 || shift_labels(labels).count == 0) continue;
    const PassEncoding pass = text_encoding(decoder, options.scheme, labels.size(1));
    input.encoding = &pass;
    const at::Tensor loss = decoder_loss(decoder, input, labels, scale, options);
    sum = sum.defined() ? sum + loss : loss;
  }
  return sum;
}

}  // namespace

PassEncoding text_encoding(const Decoder& decoder, const std::optional<Scheme>& scheme, int64_t tokens) {
  if (!scheme) return plain_encoding(decoder.config, tokens);
  Segment text;
  text.text = tokens;
  return SequenceEncoding(*scheme, Layout{"text", {text}}, encoded_model(decoder.config)).pass(0, tokens);
}

PassEncoding packed_encoding(const PassEncoding& rows, const std::vector<int64_t>& lengths) {
  const auto pack = [&](const at::Tensor& of_rows, int64_t axis) {
    std::vector<at::Tensor> parts;
    for (size_t row = 0; row < lengths.size(); ++row) {
      const auto own = of_rows.size(0) == 1 ? int64_t{0} : static_cast<int64_t>(row);
      parts.push_back(of_rows.narrow(0, own, 1).narrow(axis, 0, lengths[row]));
    }
    return at::cat(parts, axis);
  };
  PassEncoding packed;
  for (const RotaryTable& table : rows.rotary) {
    if (table.turns()) {
      packed.rotary.push_back({pack(table.cos, 2), pack(table.sin, 2), table.layout});
    } else {
      packed.rotary.push_back(table);
    }
  }
  packed.positions = pack(rows.positions, 1);
  return packed;
}

TextBatch pad_rows(const std::vector<std::vector<int64_t>>& ids,
                   const std::vector<std::vector<int64_t>>& labels, std::vector<std::string> names,
                   int64_t pad_id) {
  size_t longest = 0, shortest = ids.empty() ? 0 : ids.front().size();
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i].size() != labels[i].size()) throw InternalError("pad_rows: expected a label for every id");
    longest = std::max(longest, ids[i].size());
    shortest = std::min(shortest, ids[i].size());
  }
  const auto rows = static_cast<int64_t>(ids.size()), tokens = static_cast<int64_t>(longest);
  TextBatch batch;
  batch.names = std::move(names);
  batch.input_ids = at::full({rows, tokens}, pad_id, at::kLong);
  batch.labels = at::full({rows, tokens}, kIgnoredLabel, at::kLong);
  if (shortest != longest) batch.attention_mask = at::zeros({rows, tokens}, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    const auto& from = ids[static_cast<size_t>(row)];
    const auto length = static_cast<int64_t>(from.size());
    batch.input_ids[row].narrow(0, 0, length).copy_(at::tensor(from, at::kLong));
    batch.labels[row].narrow(0, 0, length).copy_(at::tensor(labels[static_cast<size_t>(row)], at::kLong));
    if (batch.attention_mask.defined()) batch.attention_mask[row].narrow(0, 0, length).fill_(1);
  }
  return batch;
}

std::vector<Parameter> make_trainable(Decoder& decoder, const std::vector<std::string>& trained,
                                      const std::vector<std::string>& frozen, bool copy) {
  std::vector<Parameter> parameters = make_trainable(
      decoder_slots(decoder.config, /*with_lm_head=*/true, decoder.weights), trained, frozen, copy);
  if (decoder.config.tie_word_embeddings) decoder.weights.lm_head = decoder.weights.embed_tokens;
  return parameters;
}

std::vector<TensorSlot> with_adapter_slots(std::vector<TensorSlot> slots, const ModelLossOptions& options) {
  if (!options.adapters) return slots;
  for (TensorSlot& slot : options.adapters->slots()) slots.push_back(std::move(slot));
  return slots;
}

std::vector<TensorSlot> slots_to_save(std::vector<TensorSlot> slots, const ModelLossOptions& options) {
  if (!options.adapters) return slots;
  std::vector<TensorSlot> trained;
  for (TensorSlot& slot : slots) {
    if (slot.target->requires_grad()) trained.push_back(std::move(slot));
  }
  return trained;
}

Decoder with_adapters(const Decoder& decoder, const ModelLossOptions& options) {
  return options.adapters ? options.adapters->applied(decoder) : decoder;
}

at::Tensor decoder_loss(const Decoder& decoder, const ForwardInput& input, const at::Tensor& labels,
                        double scale, const ModelLossOptions& options) {
  ForwardOptions pass;
  pass.logits = ForwardOptions::Logits::kNone;
  pass.checkpoint_layers = options.checkpoint_layers;
  const int64_t predictions = labels.size(1) - 1;
  const at::Tensor hidden = forward(decoder, input, pass).final_hidden.narrow(1, 0, predictions);
  const HeldWeights held(decoder.access, decoder.weights.lm_head);
  const double logit_scale = decoder.config.logit_scale, cap = decoder.config.logit_softcap;
  const at::Tensor rows = logit_scale == 1 ? hidden.flatten(0, 1) : hidden.flatten(0, 1).mul(logit_scale);
  const at::Tensor targets = shift_labels(labels).targets.flatten();
  if (cap == 0) return vocabulary_loss(rows, decoder.weights.lm_head, targets, scale);
  // A soft cap stands between the product and the loss, so all logits are there at once.
  const at::Tensor logits = at::linear(rows, decoder.weights.lm_head).to(at::kFloat).div(cap).tanh().mul(cap);
  return at::cross_entropy_loss(logits, targets.to(logits.device()), {}, at::Reduction::Sum, kIgnoredLabel)
      .mul(scale);
}

at::Tensor text_loss(const Decoder& master, const TextBatch& batch, double scale,
                     const ModelLossOptions& options) {
  const Decoder decoder = in_type(with_adapters(master, options), options.compute);
  const int64_t tokens = batch.input_ids.size(1);
  ForwardInput input;
  input.input_ids = batch.input_ids;
  if (padded(batch)) input.attention_mask = batch.attention_mask;
  const PassEncoding pass = text_encoding(decoder, options.scheme, tokens);
  if (pass.changes_attention() && input.attention_mask.defined())
    return loss_by_row(decoder, batch, scale, options);
  if (options.packing && input.attention_mask.defined()) {
    return packed_loss(decoder, batch, pass, scale, options);
  }
  input.encoding = &pass;
  return decoder_loss(decoder, input, batch.labels, scale, options);
}

Trainer::Micro text_micro(const Decoder& decoder, const TextBatch& batch, const ModelLossOptions& options) {
  Trainer::Micro micro;
  micro.loss = [&decoder, &batch, options](double scale) {
    return text_loss(decoder, batch, scale, options);
  };
  micro.targets = shift_labels(batch.labels).count;
  micro.tokens = batch.attention_mask.defined() ? batch.attention_mask.ne(0).sum().item<int64_t>()
                                                : batch.input_ids.numel();
  micro.names = batch.names;
  return micro;
}

}  // namespace ropescope
