// What the readers of vision-language configurations share.
#pragma once

#include <string>

#include "ropescope/architectures/vlm_config.h"

namespace ropescope::vlm_family {

/// The object at `key`, empty where it is absent. Throws InputError for another type.
Json object_at(const Json& config, const char* key, const std::string& what);

/// The decoder's width: from `text_key`, from the top of a flat file, from the defaults of the text's own model type,
/// else `fallback`.
int64_t text_hidden_size(const Json& config, const char* text_key, const std::string& text_type,
                         int64_t fallback, const std::string& what);

/// Of the model, of its text part, else `fallback`.
bool tied_embeddings(const Json& config, const char* text_key, bool fallback, const std::string& what);

/// A whole number or two equal ones ([448, 448]); another shape throws UnsupportedModel.
int64_t square_size(const Json& config, const char* key, int64_t fallback, const std::string& what);

/// The side of a square table of so many places, which the key gives. Throws InputError for another number.
int64_t square_side(const Json& config, const char* key, int64_t fallback, const std::string& what);

std::vector<int64_t> integer_list(const Json& config, const char* key, const std::vector<int64_t>& fallback,
                                  const std::string& what);

/// Throws UnsupportedModel unless a flag that is there is as expected.
void expect_flag(const Json& config, const char* key, bool expected, const std::string& what);
void expect_text(const Json& config, const char* key, const std::string& expected, const std::string& what);

/// `image_token_id` or `image_token_index`, likewise for videos.
int64_t token_id(const Json& config, const char* id_key, const char* index_key, int64_t fallback,
                 const std::string& what);

/// image_token_id, video_token_id, vision_start_token_id, vision_end_token_id of a Qwen model.
VisionTokenIds qwen_token_ids(const Json& config, const VisionTokenIds& fallback, const std::string& what);

/// The tower of a nested `vision_config`, which is CLIP's or SigLIP's; `fallback` where the file has none.
VisionConfig nested_tower(const Json& config, const char* model_type, const VisionConfig& fallback,
                          const std::string& what);

/// Channels, patch sizes, merge and rotation of towers over patches.
void read_patches(const Json& vision, VisionConfig& tower, int64_t patch_size, const std::string& what);

/// Checks that the connector ends with the decoder's width.
void check_out_size(int64_t found, const VlmConfig& vlm, const char* key, const std::string& what);

/// A merger of the Qwen kind behind `vlm.vision`.
ConnectorConfig qwen_merger(const VlmConfig& vlm);

/// `vision_feature_layer` and `vision_feature_select_strategy` of LLaVA's kin: one feature a patch must be left.
void read_feature_choice(const Json& config, int64_t layer, const char* strategy, VlmConfig& vlm,
                         const std::string& what);

/// Linear, activation, linear.
ConnectorConfig llava_mlp(const Json& config, const VlmConfig& vlm, const std::string& what);

/// Idefics3 and SmolVLM, which share everything but names.
void read_idefics(const Json& config, VlmConfig& vlm, const std::string& what);

/// Qwen3-VL's tower and merger; Qwen3.5 has them without DeepStack.
void read_qwen3_tower(const Json& config, const std::vector<int64_t>& deepstack, VlmConfig& vlm,
                      const std::string& what);

}  // namespace ropescope::vlm_family
