#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"

namespace ropescope::vlm_family {

namespace qwen2_5_vl_family {
namespace {

void parse(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm.text_hidden_size = text_hidden_size(config, "text_config", "qwen2_5_vl_text", 8192, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "text_config", false, what);
  vlm.tokens = qwen_token_ids(config, {151655, 151656, 151652, 151653, {}, {}}, what);
  vlm.pictures = PictureTokens::kPatches;
  const Json vision = object_at(config, "vision_config", what);
  const std::string where = what + ": vision_config";
  VisionConfig& tower = vlm.vision;
  tower.kind = VisionKind::kQwen25;
  read_patches(vision, tower, 14, where);
  tower.hidden_size = json_integer_or(vision, "hidden_size", 3584, where);
  tower.intermediate_size = json_integer_or(vision, "intermediate_size", 3420, where);
  tower.num_hidden_layers = json_integer_or(vision, "depth", 32, where);
  tower.num_attention_heads = json_integer_or(vision, "num_heads", 16, where);
  tower.layer_norm_eps = 1e-6;
  tower.rms_norm = true;
  tower.gated_mlp = true;
  tower.activation =
      parse_activation(json_string_or(vision, "hidden_act", "silu", where), where + ": hidden_act");
  tower.positions = VisionPositions::kNone;
  tower.window_size = json_integer_or(vision, "window_size", 112, where);
  tower.full_layers = integer_list(vision, "fullatt_block_indexes", {7, 15, 23, 31}, where);
  vlm.tokens_per_second = json_number_or(vision, "tokens_per_second", 4, where);
  check_vision_config(tower, where);
  check_out_size(json_integer_or(vision, "out_hidden_size", 3584, where), vlm, "out_hidden_size", where);
  vlm.connector = qwen_merger(vlm);
  vlm.connector.rms_norm = true;
}

}  // namespace
}  // namespace qwen2_5_vl_family

const VlmFamily kQwen25Vl = {
    .name = "qwen2_5_vl",
    .summary = "ViT over patches, windows with some full layers, rotation by row and column, 2x2 merger",
    .source = "Qwen2.5-VL (arXiv 2502.13923)",
    .model_types = {"qwen2_5_vl"},
    .classes = {"Qwen2_5_VLForConditionalGeneration"},
    .tower_prefix = "visual.",
    .connector_prefix = "visual.",
    .parse = qwen2_5_vl_family::parse,
};

}  // namespace ropescope::vlm_family
