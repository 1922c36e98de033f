#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/size_count.h"

namespace ropescope::vlm_family {

namespace qwen2_vl_family {
namespace {

void parse(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm.text_hidden_size = text_hidden_size(config, "text_config", "qwen2_vl_text", 8192, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "text_config", false, what);
  vlm.tokens = qwen_token_ids(config, {151655, 151656, 151652, 151653, {}, {}}, what);
  vlm.pictures = PictureTokens::kPatches;
  const Json vision = object_at(config, "vision_config", what);
  const std::string where = what + ": vision_config";
  VisionConfig& tower = vlm.vision;
  tower.kind = VisionKind::kQwen2;
  read_patches(vision, tower, 14, where);
  // `hidden_size` is the decoder's here.
  tower.hidden_size = json_integer_or(vision, "embed_dim", 1280, where);
  check_size(tower.hidden_size, "embed_dim", INT32_MAX, where);
  const double ratio = json_number_or(vision, "mlp_ratio", 4, where);
  constexpr double kMostRatio = 1000;
  if (!(ratio > 0 && ratio < kMostRatio)) {
    throw InputError("{}: mlp_ratio: expected a number between 0 and {}, found {}", where, kMostRatio, ratio);
  }
  tower.intermediate_size = static_cast<int64_t>(static_cast<double>(tower.hidden_size) * ratio);
  tower.num_hidden_layers = json_integer_or(vision, "depth", 32, where);
  tower.num_attention_heads = json_integer_or(vision, "num_heads", 16, where);
  tower.layer_norm_eps = 1e-6;
  tower.activation =
      parse_activation(json_string_or(vision, "hidden_act", "quick_gelu", where), where + ": hidden_act");
  tower.positions = VisionPositions::kNone;
  check_vision_config(tower, where);
  check_out_size(json_integer_or(vision, "hidden_size", 3584, where), vlm, "hidden_size", where);
  vlm.connector = qwen_merger(vlm);
}

}  // namespace
}  // namespace qwen2_vl_family

const VlmFamily kQwen2Vl = {
    .name = "qwen2_vl",
    .summary = "ViT over patches, rotation by row and column, 2x2 merger",
    .source = "Qwen2-VL (arXiv 2409.12191)",
    .model_types = {"qwen2_vl"},
    .classes = {"Qwen2VLForConditionalGeneration"},
    .tower_prefix = "visual.",
    .connector_prefix = "visual.",
    .parse = qwen2_vl_family::parse,
};

}  // namespace ropescope::vlm_family
