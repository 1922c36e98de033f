#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/size_count.h"

namespace ropescope::vlm_family {

void read_idefics(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm.text_hidden_size = text_hidden_size(config, "text_config", "llama", 4096, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "text_config", false, what);
  vlm.tokens.image = json_integer_or(config, "image_token_id", 128257, what);
  Json vision = object_at(config, "vision_config", what);
  const std::string where = what + ": vision_config";
  vision["model_type"] = "siglip_vision_model";
  if (!json_has(vision, "patch_size")) vision["patch_size"] = 32;
  // SigLIP in all but its pooling head.
  vision["vision_use_head"] = false;
  vlm.vision = parse_vision_config(vision, where);
  vlm.feature_layers = {vlm.vision.num_hidden_layers};
  vlm.post_norm = true;
  ConnectorConfig& connector = vlm.connector;
  connector.kind = ConnectorKind::kShuffleLinear;
  connector.in = vlm.vision.hidden_size;
  connector.out = vlm.text_hidden_size;
  connector.merge_size = json_integer_or(config, "scale_factor", 2, what);
  check_size(connector.merge_size, "scale_factor", vlm.vision.grid(), what);
  if (vlm.vision.grid() % connector.merge_size != 0) {
    throw InputError("{}: scale_factor: {} patches a side do not come in blocks of {}", what,
                     vlm.vision.grid(), connector.merge_size);
  }
  connector.bias = false;
  connector.first_name = "modality_projection.proj";
}

const VlmFamily kIdefics3 = {
    .name = "idefics3",
    .summary = "SigLIP over tiles and a thumbnail, pixel shuffle, one linear layer",
    .source = "Idefics3 (arXiv 2408.12637)",
    .model_types = {"idefics3"},
    .classes = {"Idefics3ForConditionalGeneration"},
    .tower_prefix = "model.vision_model.",
    .connector_prefix = "model.connector.",
    .parse = read_idefics,
};

}  // namespace ropescope::vlm_family
