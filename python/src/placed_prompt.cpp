#include "placed_prompt.h"

#include <algorithm>

#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/inputs/model_config.h"
#include "ropescope/inputs/processor_plans.h"
#include "ropescope/models/decoder.h"
#include "ropescope/models/vlm.h"

namespace ropescope::python {

ModelFolder::ModelFolder(const std::filesystem::path& folder) : config_(read_decoder_config(folder)) {
  if (model_kind(folder) != ModelKind::kVlm) return;
  vlm_ = read_vlm_config(folder);
  reader_.emplace(folder);
  if (vlm_->pictures == PictureTokens::kTiles) tokenizer_ = load_tokenizer(folder);
}

AuditedPrompt ModelFolder::place(const PromptTensors& tensors, const Scheme& scheme) const {
  PromptInputs inputs;
  inputs.input_ids = tensors.input_ids;
  inputs.attention_mask = tensors.attention_mask;
  if (vlm_) {
    ProcessorPlans plans =
        plans_of_tensors(*reader_, *vlm_, tokenizer_.get(), tensors.processor, tensors.input_ids);
    if (plans.plans.empty() && has_placeholders(tensors.input_ids, media_marks(*vlm_))) {
      throw InputError(
          "expected what the processor gave of the pictures that input_ids have tokens of ({}), found none",
          vlm_->pictures == PictureTokens::kPatches  ? "image_grid_thw, video_grid_thw"
          : vlm_->pictures == PictureTokens::kAnyres ? "image_sizes"
                                                     : "pixel_values");
    }
    if (plans.unplaced && scheme.aligned()) {
      throw UsageError(
          "scheme {}: expected a picture whose tiles resemble the whole of it, so that one can tell where they lie, found one that fits several grids",
          scheme.text());
    }
    inputs.plans = std::move(plans.plans);
  } else if (!tensors.processor.empty()) {
    throw UsageError(
        "{}: expected none beside a model without a vision tower, whose ids are those of text alone. Try: the folder of the whole "
        "vision-language model",
        tensors.processor.begin()->first);
  }
  AuditedPrompt prompt = audited_prompt(config_, vlm_ ? &*vlm_ : nullptr, inputs);
  if (prompt.tokens != tensors.input_ids.size(1)) {
    throw InputError(
        "input_ids: expected as many placeholder tokens as the pictures have ({} tokens in all), found {}. Try: the ids that the "
        "model's processor gives",
        prompt.tokens, tensors.input_ids.size(1));
  }
  return prompt;
}

bool ModelFolder::heads_differ(const Scheme& scheme) const {
  const EncodedModel model = encoded_model(config_);
  for (size_t l = 0; l < std::max<size_t>(1, model.each.size()); ++l) {
    const EncodedLayer layer = model.of_layer(static_cast<int64_t>(l));
    if (!layer.rotates) continue;
    const Frequencies frequencies = scheme.frequencies(layer.rope, layer.head_dim, layer.kv_heads,
                                                       model.max_position_embeddings, /*length=*/1.0);
    if (frequencies.axis.size(0) > 1) return true;
  }
  return false;
}

PlacedPrompt::PlacedPrompt(const ModelFolder& folder, const PromptTensors& tensors, const std::string& text) {
  const Scheme scheme(text);
  const EncodedModel model = encoded_model(folder.config());
  axes_ = scheme.axes();
  prompt_ = folder.place(tensors, scheme);
  stretches_ = *ropescope::stretches(prompt_);
  for (const Stretch& stretch : stretches_) sequences_.emplace_back(scheme, stretch.layout, model);
}

std::vector<PlacedPrompt::Part> PlacedPrompt::parts(int64_t first, int64_t count) const {
  if (first < 0 || count < 1)
    throw UsageError("expected columns from 0 and at least one, found {} from {}", count, first);
  std::vector<Part> found;
  for (size_t s = 0; s < stretches_.size(); ++s) {
    const Stretch& stretch = stretches_[s];
    Part part{s, 0, {}};
    for (size_t k = 0; k < stretch.places.size(); ++k) {
      const int64_t column = stretch.places[k] - first;
      if (column < 0 || column >= count) continue;
      if (part.columns.empty()) part.first = static_cast<int64_t>(k);
      part.columns.push_back(column);
    }
    // The last text of a row is the one that is continued.
    const bool last = s + 1 == stretches_.size() || stretches_[s + 1].row != stretch.row;
    const int64_t generated = std::max(prompt_.tokens, first);
    for (int64_t column = generated; last && column < first + count; ++column) {
      if (part.columns.empty()) {
        part.first = static_cast<int64_t>(stretch.places.size()) + column - prompt_.tokens;
      }
      part.columns.push_back(column - first);
    }
    if (!part.columns.empty()) found.push_back(std::move(part));
  }
  return found;
}

at::Tensor PlacedPrompt::position_ids(int64_t first, int64_t count) const {
  at::Tensor ids = at::zeros({axes_, prompt_.batch, count}, at::kDouble);
  for (const Part& part : parts(first, count)) {
    const auto tokens = static_cast<int64_t>(part.columns.size());
    const at::Tensor own = sequences_[part.stretch].coordinates(part.first + tokens);
    ids.select(1, stretches_[part.stretch].row)
        .index_copy_(1, at::tensor(part.columns, at::kLong), own.narrow(1, part.first, tokens));
  }
  return ids;
}

std::vector<PassTable> PlacedPrompt::tables(int64_t first, int64_t count) const {
  std::vector<PassTable> tables;
  for (const Part& part : parts(first, count)) {
    const PassEncoding pass =
        sequences_[part.stretch].pass(part.first, static_cast<int64_t>(part.columns.size()));
    if (tables.empty()) tables.resize(pass.rotary.size());
    const at::Tensor columns = at::tensor(part.columns, at::kLong);
    for (size_t l = 0; l < tables.size(); ++l) {
      const RotaryTable& own = pass.rotary[l];
      if (!own.turns()) continue;
      PassTable& table = tables[l];
      if (!table.cos.defined()) {
        const std::vector<int64_t> shape = {prompt_.batch, own.cos.size(1), count, own.cos.size(3)};
        table = {at::ones(shape, at::kFloat), at::zeros(shape, at::kFloat)};
      }
      const int64_t row = stretches_[part.stretch].row;
      table.cos[row].index_copy_(1, columns, own.cos[0]);
      table.sin[row].index_copy_(1, columns, own.sin[0]);
    }
  }
  if (tables.empty()) throw InputError("attention_mask: expected a token that counts, found padding alone");
  return tables;
}

}  // namespace ropescope::python
