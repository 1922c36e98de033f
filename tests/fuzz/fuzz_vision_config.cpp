// config.json of vision towers, of vision-language models and of LLaVA-NeXT in both forms, and the memory that they ask for.
#include "ropescope/architectures/decoder_memory.h"
#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/vlm_config.h"

#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(vision_config, bytes) {
  using namespace ropescope;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Json json = parse_json(text, "config.json");
  if (find_vlm_family(json) != nullptr) {
    const VlmConfig vlm = parse_vlm_config(json, "config.json");
    for (const int64_t layer : vlm.feature_layers) {
      if (layer < 0 || layer > vlm.vision.num_hidden_layers) {
        throw InternalError("a config was accepted whose feature layer is not there");
      }
    }
    estimate_vision_memory(vlm.vision, "config.json");
    if (!is_llava_config(json)) return;
  }
  if (!is_llava_config(json)) {
    const VisionConfig tower = parse_vision_config(json, "config.json");
    estimate_vision_memory(tower, "config.json");
    tower_feature_layer(json, tower, "config.json");
    return;
  }
  const LlavaConfig llava = parse_llava_config(json, {}, "config.json");
  for (const int64_t layer : llava.feature_layers) {
    if (layer < 0 || layer > llava.tower.num_hidden_layers) {
      throw InternalError("a config was accepted whose feature layer is not there");
    }
  }
  estimate_vision_memory(llava.tower, "config.json");
  estimate_decoder_memory(llava.decoder, "config.json");
}
