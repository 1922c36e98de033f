#include "ropescope/train/compute_type.h"

#include <vector>

#include "ropescope/models/tensor_slots.h"
#include "ropescope/train/vlm_slots.h"

namespace ropescope {

namespace {

/// False where nothing was to be done.
bool convert(const std::vector<TensorSlot>& slots, at::ScalarType type) {
  bool changed = false;
  for (const TensorSlot& slot : slots) {
    if (slot.target->scalar_type() == type) continue;  // (as well: parts that are brought in this type)
    *slot.target = slot.target->to(type);
    changed = true;
  }
  return changed;
}

void tie(Decoder& decoder) {
  if (decoder.config.tie_word_embeddings) decoder.weights.lm_head = decoder.weights.embed_tokens;
}

}  // namespace

Decoder in_type(const Decoder& decoder, at::ScalarType type) {
  Decoder working = decoder;
  if (convert(decoder_slots(working.config, /*with_lm_head=*/true, working.weights), type)) tie(working);
  return working;
}

Vlm in_type(const Vlm& vlm, at::ScalarType type) {
  Vlm working = vlm;
  if (convert(vlm_slots(working), type)) tie(working.decoder);
  return working;
}

}  // namespace ropescope
