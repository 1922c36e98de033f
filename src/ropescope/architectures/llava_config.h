// What a LLaVA-NeXT checkpoint's config.json says, in both of its forms.
//   llava-hf   model_type llava_next, `text_config`, `vision_config`, `image_token_index`,
//              `vision_feature_layer`, `vision_feature_select_strategy`, `projector_hidden_act`
//   original   model_type llava_llama, llava_qwen, ..., the decoder's keys beside `mm_vision_tower`,
//              `mm_vision_select_layer`, `mm_projector_type`, `mm_patch_merge_type`; the tower's config is
//              elsewhere
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/vision_config.h"
#include "ropescope/core/json.h"

namespace ropescope {

/// What stands for one image in the token ids of the original code.
inline constexpr int64_t kImagePlaceholder = -200;

struct LlavaConfig {
  bool original = false;  ///< which of the two forms
  DecoderConfig decoder;
  VisionConfig tower;
  /// Hidden states that the projector gets, side by side: 0 is the embedding, l the output of layer l - 1.
  /// Already counted from the front.
  std::vector<int64_t> feature_layers;
  Activation projector_activation = Activation::kGelu;
  bool projector_bias = true;
  std::optional<int64_t> image_token_id;  ///< llava-hf: the id that stands for image tokens
  std::string tower_name;                 ///< original: `mm_vision_tower`

  /// Whether a token id stands for an image in either form.
  bool is_image(int64_t id) const { return id == kImagePlaceholder || id == image_token_id; }

  /// Channels of a visual feature before the projector.
  int64_t feature_size() const { return tower.hidden_size * static_cast<int64_t>(feature_layers.size()); }
};

bool is_llava_config(const Json& config);

/// The language model's settings alone, as parse_decoder_config gives them. Absent keys of a `text_config`
/// mean what the class of its model_type assumes (published files say no more than what differs).
DecoderConfig parse_llava_decoder_config(const Json& config, const std::string& what);

/// `tower`: the config.json of the vision tower of an original checkpoint, or null (then its name must be a
/// known one). Throws UnsupportedModel for other projectors and ways to merge, InputError for what is
/// malformed.
LlavaConfig parse_llava_config(const Json& config, const Json& tower, const std::string& what);

LlavaConfig read_llava_config(const std::filesystem::path& folder);

/// Where the vision tower of an original checkpoint lies, which names it by a path or by a hub's name:
/// inside the checkpoint's folder, beside it, or at that path. None if nowhere.
std::optional<std::filesystem::path> find_tower_folder(const std::filesystem::path& folder,
                                                       const std::string& tower_name);

/// A feature layer counted from the front: -1 is the last of `layers` + 1 hidden states. Throws InputError.
int64_t resolve_feature_layer(int64_t layer, int64_t layers, const std::string& what);

/// `vision_feature_layer` of a bare tower's config, else -2; counted from the front.
int64_t tower_feature_layer(const Json& config, const VisionConfig& tower, const std::string& what);

}  // namespace ropescope
