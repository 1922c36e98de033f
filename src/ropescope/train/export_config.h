// JSON files of an exported LLaVA-NeXT model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "ropescope/architectures/llava_config.h"
#include "ropescope/core/json.h"
#include "ropescope/vision/preprocess.h"

namespace ropescope {

/// config.json in the llava-hf form of a model whose config.json in the original form is `config`.
Json hf_llava_config(const Json& config, const LlavaConfig& llava, int64_t image_token, int64_t vocabulary);

/// preprocessor_config.json of transformers' LlavaNextImageProcessor.
Json hf_image_processor(const PreprocessSettings& settings);
/// processor_config.json of transformers' LlavaNextProcessor.
Json hf_processor(const LlavaConfig& llava);

/// Adds the token <image> to tokenizer.json (added_tokens) or tokenizer_config.json (added_tokens_decoder).
Json with_image_token(Json file, bool is_config, int64_t id);

}  // namespace ropescope
