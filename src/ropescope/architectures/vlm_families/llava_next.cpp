#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/vlm_families/vlm_families.h"

namespace ropescope::vlm_family {

namespace llava_next_family {
namespace {

void parse(const Json& config, VlmConfig& vlm, const std::string& what) {
  vlm = vlm_config_of(parse_llava_config(config, Json(), what));
}

}  // namespace
}  // namespace llava_next_family

const VlmFamily kLlavaNext = {
    .name = "llava_next",
    .summary = "CLIP or SigLIP over a thumbnail and tiles, two linear layers, a newline after each row",
    .source = "LLaVA-NeXT (Liu et al., January 2024)",
    .model_types = {"llava_next"},
    .classes = {"LlavaNextForConditionalGeneration"},
    .tower_prefix = "vision_tower.",
    .connector_prefix = "multi_modal_projector.",
    .parse = llava_next_family::parse,
};

}  // namespace ropescope::vlm_family
