#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"

namespace ropescope::vlm_family {

namespace llava_family {
namespace {

void parse(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm.text_hidden_size = text_hidden_size(config, "text_config", "llama", 4096, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "text_config", false, what);
  vlm.tokens.image = token_id(config, "image_token_id", "image_token_index", 32000, what);
  vlm.vision =
      nested_tower(config, "clip_vision_model", *known_vision_tower("clip-vit-large-patch14-336"), what);
  read_feature_choice(config, -2, "default", vlm, what);
  vlm.connector = llava_mlp(config, vlm, what);
}

}  // namespace
}  // namespace llava_family

const VlmFamily kLlava = {
    .name = "llava",
    .summary = "CLIP, one square picture, two linear layers",
    .source = "LLaVA-1.5 (arXiv 2310.03744)",
    .model_types = {"llava"},
    .classes = {"LlavaForConditionalGeneration"},
    .tower_prefix = "vision_tower.",
    .connector_prefix = "multi_modal_projector.",
    .parse = llava_family::parse,
};

}  // namespace ropescope::vlm_family
