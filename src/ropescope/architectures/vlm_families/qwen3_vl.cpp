#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"

namespace ropescope::vlm_family {

void read_qwen3_tower(const Json& config, const std::vector<int64_t>& deepstack, VlmConfig& vlm,
                      const std::string& what) {
  vlm.pictures = PictureTokens::kPatches;
  const Json vision = object_at(config, "vision_config", what);
  const std::string where = what + ": vision_config";
  VisionConfig& tower = vlm.vision;
  tower.kind = VisionKind::kQwen3;
  read_patches(vision, tower, 16, where);
  tower.hidden_size = json_integer_or(vision, "hidden_size", 1152, where);
  tower.intermediate_size = json_integer_or(vision, "intermediate_size", 4304, where);
  tower.num_hidden_layers = json_integer_or(vision, "depth", 27, where);
  tower.num_attention_heads = json_integer_or(vision, "num_heads", 16, where);
  tower.layer_norm_eps = 1e-6;
  tower.activation = parse_activation(json_string_or(vision, "hidden_act", "gelu_pytorch_tanh", where),
                                      where + ": hidden_act");
  tower.positions = VisionPositions::kBilinear;
  tower.table_side = square_side(vision, "num_position_embeddings", 2304, where);
  tower.deepstack_layers = integer_list(vision, "deepstack_visual_indexes", deepstack, where);
  check_vision_config(tower, where);
  check_out_size(json_integer_or(vision, "out_hidden_size", 3584, where), vlm, "out_hidden_size", where);
  vlm.connector = qwen_merger(vlm);
  vlm.connector.norm_name = "merger.norm";
  vlm.connector.first_name = "merger.linear_fc1";
  vlm.connector.second_name = "merger.linear_fc2";
  vlm.connector.deepstack = static_cast<int64_t>(tower.deepstack_layers.size());
  if (vlm.connector.deepstack > 0) vlm.connector.deepstack_prefix = "deepstack_merger_list.";
}

namespace qwen3_vl_family {
namespace {

void parse(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm.text_hidden_size = text_hidden_size(config, "text_config", "qwen3_vl_text", 4096, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "text_config", false, what);
  vlm.tokens = qwen_token_ids(config, {151655, 151656, 151652, 151653, {}, {}}, what);
  read_qwen3_tower(config, {8, 16, 24}, vlm, what);
}

}  // namespace
}  // namespace qwen3_vl_family

const VlmFamily kQwen3Vl = {
    .name = "qwen3_vl",
    .summary =
        "ViT over patches, stretched learned positions and rotation by row and column, 2x2 merger, DeepStack",
    .source = "Qwen3-VL (arXiv 2511.21631)",
    .model_types = {"qwen3_vl"},
    .classes = {"Qwen3VLForConditionalGeneration"},
    .tower_prefix = "model.visual.",
    .connector_prefix = "model.visual.",
    .parse = qwen3_vl_family::parse,
};

}  // namespace ropescope::vlm_family
