// What config.json says about a vision tower: CLIP's or SigLIP's vision transformer, and what the towers of
// vision-language models have besides (architectures/vlm_config.h reads those).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope {

/// Whose tensors a tower has (architectures/vision_names.h). kNaflex: SigLIP 2 over pictures of any size.
enum class VisionKind { kClip, kSiglip, kInternVit, kQwen2, kQwen25, kQwen3, kGlm4v, kNaflex };

/// quick_gelu: x sigmoid(1.702 x); gelu: with the error function; gelu_tanh: its approximation; silu: x sigmoid(x).
enum class Activation { kQuickGelu, kGelu, kGeluTanh, kSilu };

/// How a patch learns where it is, besides a rotation.
enum class VisionPositions {
  kTable,     ///< one learned row a patch (and class token): pictures have one size
  kBilinear,  ///< a learned square table, stretched over each picture's grid with aligned corners
  kBicubic,   ///< the same by cubic interpolation (a = -0.75) with half-pixel centres
  kNone,
};

/// "quick_gelu", "gelu", "gelu_pytorch_tanh", "gelu_new", "gelu_fast", "silu". Throws InputError.
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

  // What CLIP and SigLIP have nothing of.
  bool packed = false;  ///< pictures of any size, as patches with their grids (models/vision_patches.h)
  int64_t temporal_patch_size = 1;  ///< frames in a patch
  int64_t merge_size = 1;  ///< patches a side that the connector makes one token of; they lie together
  VisionPositions positions = VisionPositions::kTable;
  int64_t table_side = 0;  ///< kBilinear, kBicubic: rows and columns of the learned table
  double rope_theta = 0;   ///< of the 2-D rotation of q and k; 0: none
  int64_t window_size =
      0;  ///< pixels; layers outside of `full_layers` attend inside windows of this side; 0: none
  std::vector<int64_t> full_layers;
  std::vector<int64_t> deepstack_layers;  ///< whose outputs are features too
  bool rms_norm = false;                  ///< in place of layer normalisation
  bool gated_mlp = false;                 ///< down(act(gate) up)
  bool qkv_bias = true, out_bias = true, mlp_bias = true;
  bool layer_scale = false;  ///< a factor a channel after attention and MLP

  bool operator==(const VisionConfig&) const = default;

  int64_t grid() const { return image_size / patch_size; }
  bool class_token() const { return kind == VisionKind::kClip || kind == VisionKind::kInternVit; }
  bool patch_bias() const {
    return kind != VisionKind::kClip && kind != VisionKind::kQwen2 && kind != VisionKind::kQwen25;
  }
  /// A norm before the first layer.
  bool pre_norm() const { return kind == VisionKind::kClip || kind == VisionKind::kGlm4v; }
  int64_t head_dim() const { return hidden_size / num_attention_heads; }
  /// Numbers of one patch.
  int64_t patch_numbers() const { return num_channels * temporal_patch_size * patch_size * patch_size; }
  /// Merged tokens a side of a window.
  int64_t window_tokens() const { return window_size / merge_size / patch_size; }
  /// Of a picture, class token included; of any size: rows of the learned table.
  int64_t tokens() const {
    if (packed) return table_side * table_side;
    return grid() * grid() + (class_token() ? 1 : 0);
  }
};

std::string vision_kind_name(VisionKind kind);  ///< "CLIP", "SigLIP", ...

/// Throws InputError for sizes that cannot be.
void check_vision_config(const VisionConfig& config, const std::string& what);

/// True for the config of a bare tower or of a CLIP or SigLIP pair of towers.
bool is_vision_tower_config(const Json& config);

/// A bare vision config, or one with `vision_config` inside. Absent keys mean what the classes of
/// transformers assume. Throws InputError for other models and impossible sizes.
VisionConfig parse_vision_config(const Json& config, const std::string& what);

/// The towers of the published LLaVA-NeXT models, by their names; none for another name.
std::optional<VisionConfig> known_vision_tower(const std::string& name);

/// Of pictures of any size, patches that go through a tower together; a larger picture goes alone.
inline constexpr int64_t kPatchesAtOnce = 16384;

/// Numbers (not bytes) that a tower holds. Throws InputError if a count does not fit in 63 bits.
struct VisionMemory {
  int64_t parameters = 0;
  /// Alive at once in the widest part of a layer; with pictures of any size, of kPatchesAtOnce.
  int64_t activations_per_image = 0;
};
VisionMemory estimate_vision_memory(const VisionConfig& config, const std::string& what);

}  // namespace ropescope
