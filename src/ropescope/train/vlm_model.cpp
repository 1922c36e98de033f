#include "ropescope/train/vlm_model.h"

#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/train/compute_type.h"
#include "ropescope/train/vlm_batch.h"
#include "ropescope/train/vlm_slots.h"
#include "ropescope/train/vocabulary_loss.h"

namespace ropescope {

std::vector<Parameter> make_trainable(Vlm& vlm, const std::vector<std::string>& trained,
                                      const std::vector<std::string>& frozen, bool copy) {
  std::vector<Parameter> parameters = make_trainable(vlm_slots(vlm), trained, frozen, copy);
  if (vlm.decoder.config.tie_word_embeddings) {
    vlm.decoder.weights.lm_head = vlm.decoder.weights.embed_tokens;
  }
  return parameters;
}

Vlm with_adapters(const Vlm& vlm, const ModelLossOptions& options) {
  Vlm working = vlm;
  working.decoder = with_adapters(vlm.decoder, options);
  return working;
}

at::Tensor vlm_loss(const Vlm& master, const std::vector<VlmRow>& rows, double scale,
                    const ModelLossOptions& options) {
  const Vlm vlm = in_type(with_adapters(master, options), options.compute);
  const bool packing = options.packing && mixes_layouts(vlm.decoder.config, options.scheme);
  const MediaMarks marks = media_marks(vlm.config);
  at::Tensor sum;
  for (const std::vector<size_t>& chosen : group_rows(rows, vlm, options.scheme, packing)) {
    VlmBatch batch = batch_rows(rows, chosen, vlm, options.scheme);
    if (packing && chosen.size() > 1) {
      std::vector<int64_t> lengths;
      for (const size_t row : chosen) lengths.push_back(expanded_length(rows[row], marks));
      batch = packed_rows(batch, lengths);
    }
    if (batch.labels.size(1) < 2 || shift_labels(batch.labels).count == 0) continue;
    ForwardInput input;
    embed(vlm, batch.prompt, see(vlm, batch.items)).give(input);
    input.encoding = &batch.encoding;
    input.segment_lengths = batch.segment_lengths;
    const at::Tensor loss = decoder_loss(vlm.decoder, input, batch.labels, scale, options);
    sum = sum.defined() ? sum + loss : loss;
  }
  if (!sum.defined()) throw InternalError("vlm_loss: expected at least one row with a target");
  return sum;
}

Trainer::Micro vlm_micro(const Vlm& vlm, const std::vector<VlmRow>& rows, const ModelLossOptions& options) {
  Trainer::Micro micro;
  micro.loss = [&vlm, &rows, options](double scale) { return vlm_loss(vlm, rows, scale, options); };
  const MediaMarks marks = media_marks(vlm.config);
  for (const VlmRow& row : rows) {
    micro.names.push_back(row.name);
    micro.tokens += expanded_length(row, marks);
    for (size_t i = 1; i < row.text.ids.size(); ++i) {
      const bool target = row.text.labels[i] != kIgnoredLabel && !marks.holds(row.text.ids[i]);
      micro.targets += target ? 1 : 0;
    }
  }
  return micro;
}

}  // namespace ropescope
