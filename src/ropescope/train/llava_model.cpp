#include "ropescope/train/llava_model.h"

namespace ropescope {

std::vector<Parameter> make_trainable(Llava& llava, const std::vector<std::string>& trained,
                                      const std::vector<std::string>& frozen, bool copy) {
  std::vector<Parameter> parameters = make_trainable(llava_slots(llava), trained, frozen, copy);
  if (llava.decoder.config.tie_word_embeddings) {
    llava.decoder.weights.lm_head = llava.decoder.weights.embed_tokens;
  }
  return parameters;
}

}  // namespace ropescope
