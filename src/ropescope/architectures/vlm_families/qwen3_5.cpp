#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"

namespace ropescope::vlm_family {

namespace qwen3_5_vlm {
namespace {

void parse(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm.text_hidden_size = text_hidden_size(config, "text_config", "qwen3_5_text", 4096, what);
  vlm.tie_word_embeddings = tied_embeddings(config, "text_config", false, what);
  vlm.tokens = qwen_token_ids(config, {248056, 248057, 248053, 248054, {}, {}}, what);
  read_qwen3_tower(config, {}, vlm, what);
}

}  // namespace
}  // namespace qwen3_5_vlm

const VlmFamily kQwen35 = {
    .name = "qwen3_5",
    .summary = "the tower of Qwen3-VL without DeepStack",
    .source = "Qwen3.5 (https://huggingface.co/Qwen)",
    .model_types = {"qwen3_5"},
    .classes = {"Qwen3_5ForConditionalGeneration"},
    .tower_prefix = "model.visual.",
    .connector_prefix = "model.visual.",
    .parse = qwen3_5_vlm::parse,
};

}  // namespace ropescope::vlm_family
