#include "ropescope/train/trained_decoder.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace ropescope {

std::vector<TensorSlot> TrainedDecoder::slots() {
  return with_adapter_slots(decoder_slots(decoder_.config, /*with_lm_head=*/true, decoder_.weights),
                            options_);
}

void TrainedDecoder::after_load() {
  if (decoder_.config.tie_word_embeddings) decoder_.weights.lm_head = decoder_.weights.embed_tokens;
}

std::vector<int64_t> TrainedDecoder::lengths() const {
  std::vector<int64_t> lengths;
  for (const TextRow& row : rows_) lengths.push_back(-static_cast<int64_t>(row.text.ids.size()));
  return lengths;
}

RowTotals TrainedDecoder::totals() const {
  RowTotals totals;
  for (const TextRow& row : rows_) {
    totals.add(row.text.labels);
    totals.longest = std::max(totals.longest, static_cast<int64_t>(row.text.ids.size()));
  }
  return totals;
}

Trainer::Micro TrainedDecoder::micro(const std::vector<int64_t>& rows) {
  const auto batch = std::make_shared<const TextBatch>(batch_rows(rows_, rows, pad_id_));
  Trainer::Micro micro = text_micro(decoder_, *batch, options_);
  micro.loss = [batch, loss = std::move(micro.loss)](double scale) { return loss(scale); };
  return micro;
}

}  // namespace ropescope
