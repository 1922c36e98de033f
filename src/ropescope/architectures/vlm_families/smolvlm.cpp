#include "ropescope/architectures/vlm_families/vlm_families.h"
#include "ropescope/architectures/vlm_families/vlm_reading.h"

namespace ropescope::vlm_family {

const VlmFamily kSmolVlm = {
    .name = "smolvlm",
    .summary = "SigLIP over tiles and a thumbnail, a coarser pixel shuffle, one linear layer",
    .source = "SmolVLM (arXiv 2504.05299)",
    .model_types = {"smolvlm"},
    .classes = {"SmolVLMForConditionalGeneration"},
    .tower_prefix = "model.vision_model.",
    .connector_prefix = "model.connector.",
    .parse = read_idefics,
};

}  // namespace ropescope::vlm_family
