#include <algorithm>

#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"

namespace ropescope::vlm_family {

namespace glm4v_family {
namespace {

void parse(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm.text_hidden_size = text_hidden_size(config, "text_config", "glm4v_text", 4096, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "text_config", false, what);
  vlm.pictures = PictureTokens::kPatches;
  vlm.tokens.image = json_integer_or(config, "image_token_id", 151343, what);
  vlm.tokens.video = json_integer_or(config, "video_token_id", 151344, what);
  vlm.tokens.vision_start = json_integer_or(config, "image_start_token_id", 151339, what);
  vlm.tokens.vision_end = json_integer_or(config, "image_end_token_id", 151340, what);
  vlm.tokens.video_start = json_integer_or(config, "video_start_token_id", 151341, what);
  vlm.tokens.video_end = json_integer_or(config, "video_end_token_id", 151342, what);
  const Json vision = object_at(config, "vision_config", what);
  const std::string where = what + ": vision_config";
  VisionConfig& tower = vlm.vision;
  tower.kind = VisionKind::kGlm4v;
  read_patches(vision, tower, 14, where);
  tower.hidden_size = json_integer_or(vision, "hidden_size", 1536, where);
  const int64_t out = json_integer_or(vision, "out_hidden_size", 4096, where);
  tower.intermediate_size = out;  // `intermediate_size` is the merger's
  tower.num_hidden_layers = json_integer_or(vision, "depth", 24, where);
  tower.num_attention_heads = json_integer_or(vision, "num_heads", 12, where);
  tower.layer_norm_eps = json_number_or(vision, "rms_norm_eps", 1e-5, where);
  tower.rms_norm = true;
  tower.gated_mlp = true;
  tower.qkv_bias = json_bool_or(vision, "attention_bias", false, where);
  tower.out_bias = false;
  tower.mlp_bias = false;
  tower.activation =
      parse_activation(json_string_or(vision, "hidden_act", "silu", where), where + ": hidden_act");
  tower.positions = VisionPositions::kBicubic;
  tower.table_side =
      json_integer_or(vision, "image_size", 336, where) / std::max<int64_t>(tower.patch_size, 1);
  check_vision_config(tower, where);
  check_out_size(out, vlm, "out_hidden_size", where);
  ConnectorConfig& connector = vlm.connector;
  connector.kind = ConnectorKind::kStridedMerger;
  connector.merge_size = tower.merge_size;
  connector.in = tower.hidden_size;
  connector.inner = json_integer_or(vision, "intermediate_size", 13696, where);
  connector.out = out;
  connector.bias = false;
}

}  // namespace
}  // namespace glm4v_family

const VlmFamily kGlm4v = {
    .name = "glm4v",
    .summary =
        "ViT over patches, stretched learned positions (cubic) and rotation by row and column, strided merger",
    .source = "GLM-4.1V-Thinking (arXiv 2507.01006)",
    .model_types = {"glm4v"},
    .classes = {"Glm4vForConditionalGeneration"},
    .tower_prefix = "model.visual.",
    .connector_prefix = "model.visual.",
    .parse = glm4v_family::parse,
};

}  // namespace ropescope::vlm_family
