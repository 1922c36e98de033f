#include "ropescope/train/llava_model.h"

#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/train/compute_type.h"
#include "ropescope/train/llava_batch.h"
#include "ropescope/train/vocabulary_loss.h"

namespace ropescope {

std::vector<Parameter> make_trainable(Llava& llava, const std::vector<std::string>& trained,
                                      const std::vector<std::string>& frozen, bool copy) {
  std::vector<Parameter> parameters = make_trainable(llava_slots(llava), trained, frozen, copy);
  if (llava.decoder.config.tie_word_embeddings) {
    llava.decoder.weights.lm_head = llava.decoder.weights.embed_tokens;
  }
  return parameters;
}

at::Tensor llava_loss(const Llava& master, const std::vector<LlavaRow>& rows, double scale,
                      const ModelLossOptions& options) {
  const Llava llava = in_type(master, options.compute);
  at::Tensor sum;
  for (const std::vector<size_t>& chosen : group_rows(rows, llava.config, options.scheme)) {
    const LlavaBatch batch = batch_rows(rows, chosen, llava.config, options.scheme);
    if (batch.labels.size(1) < 2 || shift_labels(batch.labels).count == 0) continue;
    ForwardInput input;
    input.inputs_embeds = merge_embeddings(llava, batch.prompt, batch.images);
    input.encoding = &batch.encoding;
    const at::Tensor loss = decoder_loss(llava.decoder, input, batch.labels, scale, options);
    sum = sum.defined() ? sum + loss : loss;
  }
  if (!sum.defined()) throw InternalError("llava_loss: expected at least one row with a target");
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
