#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"

namespace ropescope::vlm_family {

namespace llava_onevision_family {
namespace {

// "anyres_max_9": 9.
int64_t most_tiles(const Json& config, const std::string& what) {
  const std::string prefix = "anyres_max_";
  const std::string text = json_string_or(config, "vision_aspect_ratio", "anyres_max_9", what);
  constexpr size_t kMostDigits = 4;
  const std::string digits = text.starts_with(prefix) ? text.substr(prefix.size()) : "";
  if (digits.empty() || digits.size() > kMostDigits ||
      digits.find_first_not_of("0123456789") != std::string::npos || std::stoll(digits) == 0) {
    throw UnsupportedModel(
        "{}: vision_aspect_ratio: expected \"anyres_max_\" and a number of tiles, found \"{}\"", what, text);
  }
  return std::stoll(digits);
}

void parse(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm.text_hidden_size = text_hidden_size(config, "text_config", "qwen2", 4096, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "text_config", false, what);
  vlm.tokens.image = token_id(config, "image_token_id", "image_token_index", 151646, what);
  vlm.tokens.video = token_id(config, "video_token_id", "video_token_index", 151647, what);
  VisionConfig tower = *known_vision_tower("siglip-so400m-patch14-384");
  tower.num_hidden_layers = 26;
  vlm.vision = nested_tower(config, "siglip_vision_model", tower, what);
  vlm.pictures = PictureTokens::kAnyres;
  vlm.has_newline = true;
  vlm.most_tiles = most_tiles(config, what);
  read_feature_choice(config, -1, "full", vlm, what);
  vlm.connector = llava_mlp(config, vlm, what);
}

}  // namespace
}  // namespace llava_onevision_family

const VlmFamily kLlavaOnevision = {
    .name = "llava_onevision",
    .summary = "SigLIP over a thumbnail and up to 6x6 tiles whose map shrinks, two linear layers, newlines",
    .source = "LLaVA-OneVision (arXiv 2408.03326)",
    .model_types = {"llava_onevision"},
    .classes = {"LlavaOnevisionForConditionalGeneration"},
    .tower_prefix = "vision_tower.",
    .connector_prefix = "multi_modal_projector.",
    .parse = llava_onevision_family::parse,
};

}  // namespace ropescope::vlm_family
