#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"

namespace ropescope::families {

namespace qwen2_vl_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_qwen_vl(config, decoder, /*frame_step=*/1, what);
}

}  // namespace
}  // namespace qwen2_vl_family

const Architecture kQwen2Vl = {
    .name = "qwen2_vl_text",
    .summary = "As qwen2; frames, rows and columns have ids of their own, each for a run of channels.",
    .source = "Qwen2-VL (arXiv 2409.12191)",
    .model_types = {"qwen2_vl_text"},
    .classes = {"Qwen2VLTextModel"},
    .wrappers = {"qwen2_vl"},
    .trains = true,
    .defaults = kQwenVlDefaults,
    .parse = qwen2_vl_family::parse,
    .write = write_qwen_vl,
    .tensors = llama_rules,
};

}  // namespace ropescope::families
