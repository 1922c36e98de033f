// What config.json says about a vision tower: CLIP's or SigLIP's vision transformer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "ropescope/core/json.h"

namespace ropescope {

enum class VisionKind { kClip, kSiglip };

/// quick_gelu: x sigmoid(1.702 x); gelu: with the error function; gelu_tanh: its approximation.
enum class Activation { kQuickGelu, kGelu, kGeluTanh };

/// "quick_gelu", "gelu", "gelu_pytorch_tanh", "gelu_new", "gelu_fast". Throws InputError.
Activation parse_activation(const std::string& name, const std::string& what);
std::string activation_name(Activation activation);

struct VisionConfig {
  VisionKind kind = VisionKind::kClip;
  int64_t hidden_size = 768;
  int64_t intermediate_size = 3072;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 12;
  int64_t num_channels = 3;
  int64_t image_size = 224;  ///< pixels, square
  int64_t patch_size = 32;   ///< pixels; what is left over at the right and bottom edge is not seen
  double layer_norm_eps = 1e-5;
  Activation activation = Activation::kQuickGelu;
  bool use_head = false;  ///< SigLIP: an attention head pools the tokens (absent in many checkpoints)

  int64_t grid() const { return image_size / patch_size; }
  bool class_token() const { return kind == VisionKind::kClip; }
  /// Class token included.
  int64_t tokens() const { return grid() * grid() + (class_token() ? 1 : 0); }
};

std::string vision_kind_name(VisionKind kind);  ///< "CLIP", "SigLIP"

/// True for the config of a bare tower or of a CLIP or SigLIP pair of towers.
bool is_vision_tower_config(const Json& config);

/// A bare vision config, or one with `vision_config` inside. Absent keys mean what the classes of
/// transformers assume. Throws InputError for other models and impossible sizes.
VisionConfig parse_vision_config(const Json& config, const std::string& what);

/// The towers of the published LLaVA-NeXT models, by their names; none for another name.
std::optional<VisionConfig> known_vision_tower(const std::string& name);

/// Numbers (not bytes) that a tower holds. Throws InputError if a count does not fit in 63 bits.
struct VisionMemory {
  int64_t parameters = 0;
  int64_t activations_per_image = 0;  ///< alive at once in the widest part of a layer
};
VisionMemory estimate_vision_memory(const VisionConfig& config, const std::string& what);

}  // namespace ropescope
