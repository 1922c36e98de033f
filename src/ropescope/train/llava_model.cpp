#include "ropescope/train/llava_model.h"

#include <utility>

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/train/vocabulary_loss.h"

namespace ropescope {

namespace {

at::Tensor as_row(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong).unsqueeze(0); }

/// Labels of the expanded prompt [1, T]: those of the text, in order; none at image tokens.
at::Tensor expanded_labels(const LlavaRow& row, const ImagePrompt& prompt, const LlavaConfig& config) {
  std::vector<int64_t> of_text, all(prompt.image_of.size(), kIgnoredLabel);
  for (size_t i = 0; i < row.text.ids.size(); ++i) {
    const int64_t id = row.text.ids[i];
    if (!config.is_image(id)) of_text.push_back(row.text.labels[i]);
  }
  size_t next = 0;
  for (size_t t = 0; t < all.size(); ++t) {
    if (prompt.image_of[t] != ImagePrompt::kText) continue;
    if (next == of_text.size()) throw InternalError("llava_loss: more text tokens than labels");
    all[t] = of_text[next++];
  }
  return as_row(all);
}

at::Tensor loss_of_row(const Llava& llava, const LlavaRow& row, double scale,
                       const ModelLossOptions& options) {
  std::vector<AnyresGeometry> geometries;
  for (const LlavaImage& image : row.images) geometries.push_back(image.geometry);
  const ImagePrompt prompt = expand_images(as_row(row.text.ids), {}, geometries, llava.config);
  const int64_t tokens = prompt.input_ids.size(1);
  const at::Tensor labels = expanded_labels(row, prompt, llava.config);
  ForwardInput input;
  input.inputs_embeds = merge_embeddings(llava, prompt, row.images);
  PassEncoding encoding;
  if (options.scheme) {
    encoding = SequenceEncoding(*options.scheme, prompt.layouts.front(), encoded_model(llava.decoder.config))
                   .pass(0, tokens);
  } else {
    encoding.rotary = {plain_rotary_table(llava.decoder.config, tokens)};
  }
  input.encoding = &encoding;
  return decoder_loss(llava.decoder, input, labels, scale, options);
}

}  // namespace

std::vector<Parameter> make_trainable(Llava& llava, const std::vector<std::string>& trained,
                                      const std::vector<std::string>& frozen) {
  std::vector<Parameter> parameters = make_trainable(llava_slots(llava), trained, frozen);
  if (llava.decoder.config.tie_word_embeddings) {
    llava.decoder.weights.lm_head = llava.decoder.weights.embed_tokens;
  }
  return parameters;
}

at::Tensor llava_loss(const Llava& llava, const std::vector<LlavaRow>& rows, double scale,
                      const ModelLossOptions& options) {
  at::Tensor sum;
  for (const LlavaRow& row : rows) {
    const at::Tensor loss = loss_of_row(llava, row, scale, options);
    sum = sum.defined() ? sum + loss : loss;
  }
  if (!sum.defined()) throw InternalError("llava_loss: expected at least one row");
  return sum;
}

Trainer::Micro llava_micro(const Llava& llava, const std::vector<LlavaRow>& rows,
                           const ModelLossOptions& options) {
  Trainer::Micro micro;
  micro.loss = [&llava, &rows, options](double scale) { return llava_loss(llava, rows, scale, options); };
  for (const LlavaRow& row : rows) {
    micro.names.push_back(row.name);
    for (size_t i = 0; i < row.text.ids.size(); ++i) {
      const int64_t id = row.text.ids[i];
      if (llava.config.is_image(id)) continue;
      micro.tokens += 1;
      micro.targets += i > 0 && row.text.labels[i] != kIgnoredLabel ? 1 : 0;
    }
    for (const LlavaImage& image : row.images) micro.tokens += image.geometry.tokens;
  }
  return micro;
}

}  // namespace ropescope
