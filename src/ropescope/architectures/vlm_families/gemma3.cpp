#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"
#include "ropescope/core/errors.h"

namespace ropescope::vlm_family {

namespace gemma3_vlm {
namespace {

void parse(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm.text_hidden_size = text_hidden_size(config, "text_config", "gemma3_text", 2304, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "text_config", true, what);
  vlm.tokens.image = token_id(config, "image_token_id", "image_token_index", 262144, what);
  vlm.tokens.vision_start = token_id(config, "boi_token_id", "boi_token_index", 255999, what);
  vlm.tokens.vision_end = token_id(config, "eoi_token_id", "eoi_token_index", 256000, what);
  VisionConfig tower;
  tower.kind = VisionKind::kSiglip;
  tower.patch_size = 16;
  tower.layer_norm_eps = 1e-6;
  tower.activation = Activation::kGeluTanh;
  tower.use_head = true;
  vlm.vision = nested_tower(config, "siglip_vision_model", tower, what);
  if (vlm.vision.class_token()) throw InputError("{}: vision_config: expected SigLIP's, found CLIP's", what);
  vlm.feature_layers = {vlm.vision.num_hidden_layers};
  vlm.post_norm = true;
  const int64_t side = square_side(config, "mm_tokens_per_image", 256, what);
  if (vlm.vision.grid() % side != 0) {
    throw InputError("{}: mm_tokens_per_image: {} patches a side do not come in {} blocks", what,
                     vlm.vision.grid(), side);
  }
  ConnectorConfig& connector = vlm.connector;
  connector.kind = ConnectorKind::kPooled;
  connector.in = vlm.vision.hidden_size;
  connector.out = vlm.text_hidden_size;
  connector.merge_size = vlm.vision.grid() / side;
  connector.bias = false;
  connector.rms_norm = true;
  connector.norm_eps = vlm.vision.layer_norm_eps;
  connector.norm_name = "mm_soft_emb_norm";
  connector.first_name = "mm_input_projection_weight";
}

}  // namespace
}  // namespace gemma3_vlm

const VlmFamily kGemma3 = {
    .name = "gemma3",
    .summary = "SigLIP over squeezed squares, pooling to a fixed number of tokens, one matrix",
    .source = "Gemma 3 (arXiv 2503.19786)",
    .model_types = {"gemma3"},
    .classes = {"Gemma3ForConditionalGeneration"},
    .tower_prefix = "vision_tower.",
    .connector_prefix = "multi_modal_projector.",
    .parse = gemma3_vlm::parse,
};

}  // namespace ropescope::vlm_family
