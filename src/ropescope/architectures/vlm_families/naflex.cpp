// SigLIP 2 over pictures of any size, behind it the merger of Qwen2-VL and a Qwen2.5 decoder: the model of DIPE's
// experiments. Its files carry Qwen2.5-VL's model type and are told by the type of their vision_config.
#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"

namespace ropescope::vlm_family {

namespace naflex_family {
namespace {

bool claims(const Json& config) {
  const Json* vision = json_find(config, "vision_config");
  const Json* type = vision == nullptr ? nullptr : json_find(*vision, "model_type");
  return type != nullptr && type->is_string() && *type == "siglip2_vision_model";
}

void parse(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm.text_hidden_size = text_hidden_size(config, "text_config", "qwen2", 4096, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "text_config", false, what);
  vlm.tokens = qwen_token_ids(config, {151655, 151656, 151652, 151653, {}, {}}, what);
  vlm.pictures = PictureTokens::kPatches;
  const Json vision = object_at(config, "vision_config", what);
  const std::string where = what + ": vision_config";
  VisionConfig& tower = vlm.vision;
  tower.kind = VisionKind::kNaflex;
  read_patches(vision, tower, 16, where);
  tower.rope_theta = 0;
  tower.num_channels = json_integer_or(vision, "num_channels", 3, where);
  tower.hidden_size = json_integer_or(vision, "hidden_size", 768, where);
  tower.intermediate_size = json_integer_or(vision, "intermediate_size", 3072, where);
  tower.num_hidden_layers = json_integer_or(vision, "num_hidden_layers", 12, where);
  tower.num_attention_heads = json_integer_or(vision, "num_attention_heads", 12, where);
  tower.layer_norm_eps = json_number_or(vision, "layer_norm_eps", 1e-6, where);
  tower.activation = parse_activation(json_string_or(vision, "hidden_act", "gelu_pytorch_tanh", where),
                                      where + ": hidden_act");
  tower.positions = VisionPositions::kBilinear;
  tower.table_side = square_side(vision, "num_patches", 256, where);
  check_vision_config(tower, where);
  vlm.connector = qwen_merger(vlm);
  vlm.connector.norm_name = "adaptor.ln_q";
  vlm.connector.first_name = "adaptor.mlp.0";
  vlm.connector.second_name = "adaptor.mlp.2";
}

}  // namespace
}  // namespace naflex_family

const VlmFamily kNaflex = {
    .name = "naflex",
    .summary = "SigLIP 2 over patches, a learned table stretched over each picture, 2x2 merger",
    .source = "DIPE (arXiv 2603.10863); SigLIP 2 (arXiv 2502.14786)",
    .model_types = {"qwen2_5_vl", "qwen25_siglip"},
    .classes = {"Qwen25_SigLIPForConditionalGeneration"},
    .tower_prefix = "model.visual.",
    .connector_prefix = "model.visual.",
    .claims = naflex_family::claims,
    .parse = naflex_family::parse,
};

}  // namespace ropescope::vlm_family
