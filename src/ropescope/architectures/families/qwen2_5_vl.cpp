#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"

namespace ropescope::families {

namespace qwen2_5_vl_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_qwen_vl(config, decoder, /*frame_step=*/2, what);
}

}  // namespace
}  // namespace qwen2_5_vl_family

const Architecture kQwen25Vl = {
    .name = "qwen2_5_vl_text",
    .summary = "As qwen2_vl_text; ids of frames follow the clip's seconds.",
    .source = "Qwen2.5-VL (arXiv 2502.13923)",
    .model_types = {"qwen2_5_vl_text"},
    .classes = {"Qwen2_5_VLTextModel"},
    .wrappers = {"qwen2_5_vl"},
    .trains = true,
    .defaults = kQwenVlDefaults,
    .parse = qwen2_5_vl_family::parse,
    .write = write_qwen_vl,
    .tensors = llama_rules,
};

}  // namespace ropescope::families
