#include "ropescope/train/compute_type.h"

#include <vector>

#include "ropescope/core/errors.h"
#include "ropescope/models/tensor_slots.h"

namespace ropescope {

namespace {

void convert(const std::vector<TensorSlot>& slots, const Decoder& decoder, at::ScalarType type) {
  if (decoder.access != nullptr) {
    throw UsageError("--dtype: expected float32 where parameters are sharded, found another type");
  }
  for (const TensorSlot& slot : slots) *slot.target = slot.target->to(type);
}

void tie(Decoder& decoder) {
  if (decoder.config.tie_word_embeddings) decoder.weights.lm_head = decoder.weights.embed_tokens;
}

}  // namespace

Decoder in_type(const Decoder& decoder, at::ScalarType type) {
  if (decoder.weights.embed_tokens.scalar_type() == type) return decoder;
  Decoder working = decoder;
  convert(decoder_slots(working.config, /*with_lm_head=*/true, working.weights), decoder, type);
  tie(working);
  return working;
}

Llava in_type(const Llava& llava, at::ScalarType type) {
  if (llava.decoder.weights.embed_tokens.scalar_type() == type) return llava;
  Llava working = llava;
  convert(llava_slots(working), llava.decoder, type);
  tie(working.decoder);
  return working;
}

}  // namespace ropescope
