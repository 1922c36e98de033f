#include "ropescope/architectures/vision_config.h"

#include <algorithm>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/core/strings.h"
#include "ropescope/weights/size_count.h"

namespace ropescope {

namespace {

const Json* nested_object(const Json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && found->is_object() ? &*found : nullptr;
}

std::string model_type_of(const Json& config) {
  const auto found = config.find("model_type");
  return found != config.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<VisionKind> vision_kind_of(const std::string& model_type) {
  if (model_type == "clip" || model_type == "clip_vision_model") return VisionKind::kClip;
  if (model_type == "siglip" || model_type == "siglip_vision_model") return VisionKind::kSiglip;
  return std::nullopt;
}

}  // namespace

void check_vision_config(const VisionConfig& config, const std::string& what) {
  constexpr int64_t kLargest = INT32_MAX, kLongestSide = 16384, kMostLayers = 10'000, kMost = 1024;
  check_size(config.hidden_size, "hidden_size", kLargest, what);
  check_size(config.intermediate_size, "intermediate_size", kLargest, what);
  check_size(config.num_hidden_layers, "num_hidden_layers", kMostLayers, what);
  check_size(config.num_attention_heads, "num_attention_heads", config.hidden_size, what);
  if (!config.packed) check_size(config.image_size, "image_size", kLongestSide, what);
  check_size(config.patch_size, "patch_size", config.packed ? kLongestSide : config.image_size, what);
  if (config.num_channels != 3) {
    throw InputError("{}: num_channels: expected 3 (red, green, blue), found {}", what, config.num_channels);
  }
  if (config.hidden_size % config.num_attention_heads != 0) {
    throw InputError("{}: expected num_attention_heads to divide hidden_size, found {} and {}", what,
                     config.num_attention_heads, config.hidden_size);
  }
  if (!(config.layer_norm_eps > 0 && config.layer_norm_eps < 1)) {
    throw InputError("{}: layer_norm_eps: expected a number between 0 and 1, found {}", what,
                     config.layer_norm_eps);
  }
  check_size(config.temporal_patch_size, "temporal_patch_size", kMost, what);
  check_size(config.merge_size, "spatial_merge_size", kMost, what);
  if (config.positions == VisionPositions::kBilinear || config.positions == VisionPositions::kBicubic) {
    check_size(config.table_side, "positions a side", kLongestSide, what);
  }
  if (config.rope_theta != 0) {
    if (!(config.rope_theta > 0 && std::isfinite(config.rope_theta))) {
      throw InputError("{}: rope_theta: expected a positive number, found {}", what, config.rope_theta);
    }
    if (config.head_dim() % 4 != 0) {
      throw InputError("{}: a rotation by row and column needs a head dimension of whole fours, found {}",
                       what, config.head_dim());
    }
  }
  if (config.window_size != 0) {
    check_size(config.window_size, "window_size", kLargest, what);
    if (config.window_tokens() < 1) {
      throw InputError("{}: window_size: expected at least one merged token of {} pixels, found {}", what,
                       config.merge_size * config.patch_size, config.window_size);
    }
  }
  for (const std::vector<int64_t>* layers : {&config.full_layers, &config.deepstack_layers}) {
    for (const int64_t layer : *layers) {
      if (layer >= 0 && layer < config.num_hidden_layers) continue;
      throw InputError("{}: {}: expected layers 0 to {}, found {}", what,
                       layers == &config.full_layers ? "fullatt_block_indexes" : "deepstack_visual_indexes",
                       config.num_hidden_layers - 1, layer);
    }
  }
}

Activation parse_activation(const std::string& name, const std::string& what) {
  if (name == "quick_gelu") return Activation::kQuickGelu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") return Activation::kGeluTanh;
  if (name == "silu" || name == "swish") return Activation::kSilu;
  throw InputError("{}: expected an activation among quick_gelu, gelu, gelu_pytorch_tanh, silu, found \"{}\"",
                   what, name);
}

std::string activation_name(Activation activation) {
  switch (activation) {
    case Activation::kQuickGelu:
      return "quick_gelu";
    case Activation::kGelu:
      return "gelu";
    case Activation::kGeluTanh:
      return "gelu_pytorch_tanh";
    case Activation::kSilu:
      return "silu";
  }
  throw InternalError("activation_name: no such activation");
}

std::string vision_kind_name(VisionKind kind) {
  switch (kind) {
    case VisionKind::kClip:
      return "CLIP";
    case VisionKind::kSiglip:
      return "SigLIP";
    case VisionKind::kInternVit:
      return "InternViT";
    case VisionKind::kQwen2:
      return "Qwen2-VL ViT";
    case VisionKind::kQwen25:
      return "Qwen2.5-VL ViT";
    case VisionKind::kQwen3:
      return "Qwen3-VL ViT";
    case VisionKind::kGlm4v:
      return "GLM-4V ViT";
    case VisionKind::kNaflex:
      return "SigLIP 2 NaFlex";
  }
  throw InternalError("vision_kind_name: no such tower");
}

bool is_vision_tower_config(const Json& config) {
  return config.is_object() && vision_kind_of(model_type_of(config)).has_value();
}

VisionConfig parse_vision_config(const Json& config, const std::string& what) {
  if (!config.is_object()) throw InputError("{}: expected a JSON object", what);
  if (const Json* nested = nested_object(config, "vision_config")) {
    Json inner = *nested;
    // Old files leave the type to the outer model.
    if (model_type_of(inner).empty()) {
      const auto outer = vision_kind_of(model_type_of(config));
      inner["model_type"] = outer == VisionKind::kSiglip ? "siglip_vision_model" : "clip_vision_model";
    }
    return parse_vision_config(inner, what + ": vision_config");
  }
  const std::optional<VisionKind> kind = vision_kind_of(model_type_of(config));
  if (!kind) {
    throw InputError("{}: model_type: expected clip_vision_model or siglip_vision_model, found \"{}\"", what,
                     model_type_of(config));
  }
  const bool clip = *kind == VisionKind::kClip;
  VisionConfig vision;
  vision.kind = *kind;
  vision.hidden_size = json_integer_or(config, "hidden_size", 768, what);
  vision.intermediate_size = json_integer_or(config, "intermediate_size", 3072, what);
  vision.num_hidden_layers = json_integer_or(config, "num_hidden_layers", 12, what);
  vision.num_attention_heads = json_integer_or(config, "num_attention_heads", 12, what);
  vision.num_channels = json_integer_or(config, "num_channels", 3, what);
  vision.image_size = json_integer_or(config, "image_size", 224, what);
  vision.patch_size = json_integer_or(config, "patch_size", clip ? 32 : 16, what);
  vision.layer_norm_eps = json_number_or(config, "layer_norm_eps", clip ? 1e-5 : 1e-6, what);
  vision.activation =
      parse_activation(json_string_or(config, "hidden_act", clip ? "quick_gelu" : "gelu_pytorch_tanh", what),
                       what + ": hidden_act");
  vision.use_head = !clip && json_bool_or(config, "vision_use_head", true, what);
  check_vision_config(vision, what);
  return vision;
}

std::optional<VisionConfig> known_vision_tower(const std::string& name) {
  VisionConfig config;
  config.num_attention_heads = 16;
  config.patch_size = 14;
  if (contains(name, "clip-vit-large-patch14")) {
    config.hidden_size = 1024;
    config.intermediate_size = 4096;
    config.num_hidden_layers = 24;
    config.image_size = contains(name, "336") ? 336 : 224;
    return config;
  }
  if (contains(name, "siglip-so400m-patch14-384")) {
    config.kind = VisionKind::kSiglip;
    config.hidden_size = 1152;
    config.intermediate_size = 4304;
    config.num_hidden_layers = 27;
    config.image_size = 384;
    config.layer_norm_eps = 1e-6;
    config.activation = Activation::kGeluTanh;
    return config;
  }
  return std::nullopt;
}

VisionMemory estimate_vision_memory(const VisionConfig& config, const std::string& what) {
  const SizeCount count(what);
  const int64_t hidden = config.hidden_size, mlp = config.intermediate_size;
  const int64_t patch = count.product({config.patch_numbers(), hidden});
  const int64_t norm = config.rms_norm ? hidden : 2 * hidden;
  const int64_t biases = (config.qkv_bias ? 3 * hidden : 0) + (config.out_bias ? hidden : 0) +
                         (config.mlp_bias ? (config.gated_mlp ? 2 : 1) * mlp + hidden : 0) +
                         (config.layer_scale ? 2 * hidden : 0);
  const int64_t layer = count.sum({count.product({4, hidden, hidden}),
                                   count.product({config.gated_mlp ? 3 : 2, hidden, mlp}), 2 * norm, biases});
  // Outside of layers: class embedding, the patches' bias, norms before and after.
  const bool has_post_norm = config.kind == VisionKind::kClip || config.kind == VisionKind::kSiglip ||
                             config.kind == VisionKind::kGlm4v;
  const int64_t vectors = (config.class_token() ? hidden : 0) + (config.patch_bias() ? hidden : 0) +
                          (config.pre_norm() ? norm : 0) + (has_post_norm ? norm : 0);
  // The pooling head is a layer with a probe in place of its first norm.
  const int64_t head = config.use_head ? layer - hidden : 0;
  VisionMemory memory;
  memory.parameters = count.sum({patch, count.product({config.tokens(), hidden}), vectors,
                                 count.product({config.num_hidden_layers, layer}), head});
  // Residual stream and normed input; then q, k, v and the output, or both sides of the activation.
  memory.activations_per_image =
      count.product({config.packed ? kPatchesAtOnce : config.tokens(),
                     count.sum({2 * hidden, std::max(4 * hidden, (config.gated_mlp ? 3 : 2) * mlp)})});
  return memory;
}

}  // namespace ropescope
