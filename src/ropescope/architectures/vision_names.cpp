#include "ropescope/architectures/vision_names.h"

#include <array>
#include <string>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

const VisionNames kSiglipNames = {
    .patch = "embeddings.patch_embedding",
    .position = "embeddings.position_embedding.weight",
    .class_token = "embeddings.class_embedding",
    .pre_norm = "pre_layrnorm",  // so it is spelled
    .post_norm = "post_layernorm",
    .layers = "encoder.layers",
    .norm1 = "layer_norm1",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .out = "self_attn.out_proj",
    .norm2 = "layer_norm2",
    .fc1 = "mlp.fc1",
    .fc2 = "mlp.fc2",
};

const VisionNames kInternVitNames = {
    .patch = "embeddings.patch_embeddings.projection",
    .position = "embeddings.position_embeddings",
    .class_token = "embeddings.cls_token",
    .batched = true,
    .layers = "encoder.layer",
    .norm1 = "layernorm_before",
    .q = "attention.q_proj",
    .k = "attention.k_proj",
    .v = "attention.v_proj",
    .out = "attention.projection_layer",
    .norm2 = "layernorm_after",
    .fc1 = "mlp.fc1",
    .fc2 = "mlp.fc2",
    .scale1 = "lambda_1",
    .scale2 = "lambda_2",
};

// OpenGVLab's own files.
const VisionNames kOriginalInternVitNames = {
    .patch = "embeddings.patch_embedding",
    .position = "embeddings.position_embedding",
    .class_token = "embeddings.class_embedding",
    .batched = true,
    .layers = "encoder.layers",
    .norm1 = "norm1",
    .qkv = "attn.qkv",
    .out = "attn.proj",
    .norm2 = "norm2",
    .fc1 = "mlp.fc1",
    .fc2 = "mlp.fc2",
    .scale1 = "ls1",
    .scale2 = "ls2",
};

const VisionNames kQwen2Names = {
    .patch = "patch_embed.proj",
    .layers = "blocks",
    .norm1 = "norm1",
    .qkv = "attn.qkv",
    .out = "attn.proj",
    .norm2 = "norm2",
    .fc1 = "mlp.fc1",
    .fc2 = "mlp.fc2",
};

VisionNames qwen25_names() {
  VisionNames names = kQwen2Names;
  names.gate = "mlp.gate_proj";
  names.fc1 = "mlp.up_proj";
  names.fc2 = "mlp.down_proj";
  return names;
}

VisionNames qwen3_names() {
  VisionNames names = kQwen2Names;
  names.position = "pos_embed.weight";
  names.fc1 = "mlp.linear_fc1";
  names.fc2 = "mlp.linear_fc2";
  return names;
}

VisionNames glm4v_names() {
  VisionNames names = qwen25_names();
  names.position = "embeddings.position_embedding.weight";
  names.pre_norm = "post_conv_layernorm";
  names.post_norm = "post_layernorm";
  return names;
}

VisionNames naflex_names() {
  VisionNames names = kSiglipNames;
  names.position = "position_embedding.weight";
  names.post_norm = "";
  return names;
}

}  // namespace

const std::vector<VisionNames>& vision_names(VisionKind kind) {
  static const std::vector<VisionNames> siglip = {kSiglipNames};
  static const std::vector<VisionNames> intern = {kInternVitNames, kOriginalInternVitNames};
  static const std::vector<VisionNames> qwen2 = {kQwen2Names}, qwen25 = {qwen25_names()},
                                        qwen3 = {qwen3_names()};
  static const std::vector<VisionNames> glm4v = {glm4v_names()}, naflex = {naflex_names()};
  switch (kind) {
    case VisionKind::kClip:
    case VisionKind::kSiglip:
      return siglip;
    case VisionKind::kInternVit:
      return intern;
    case VisionKind::kQwen2:
      return qwen2;
    case VisionKind::kQwen25:
      return qwen25;
    case VisionKind::kQwen3:
      return qwen3;
    case VisionKind::kGlm4v:
      return glm4v;
    case VisionKind::kNaflex:
      return naflex;
  }
  throw InternalError("vision_names: no such tower");
}

namespace {

/// Files of training steps have the parts of a fused qkv by themselves.
VisionNames apart(VisionNames names) {
  names.qkv = "";
  names.q = "attn.qkv.q";
  names.k = "attn.qkv.k";
  names.v = "attn.qkv.v";
  return names;
}

}  // namespace

const VisionNames& vision_names(VisionKind kind, const Checkpoint& tower) {
  const std::vector<VisionNames>& all = vision_names(kind);
  for (const VisionNames& names : all) {
    if (tower.find(std::string(names.patch) + ".weight") == nullptr) continue;
    const std::string first = std::string(names.layers) + ".0.attn.qkv";
    const bool fused = *names.qkv == '\0' || tower.find(first + ".weight") != nullptr;
    if (fused || tower.find(first + ".q.weight") == nullptr) return names;
    static const std::array<VisionNames, 4> parts = {apart(kQwen2Names), apart(qwen25_names()),
                                                     apart(qwen3_names()), apart(glm4v_names())};
    switch (kind) {
      case VisionKind::kQwen2:
        return parts[0];
      case VisionKind::kQwen25:
        return parts[1];
      case VisionKind::kQwen3:
        return parts[2];
      case VisionKind::kGlm4v:
        return parts[3];
      default:
        return names;
    }
  }
  return all.front();
}

}  // namespace ropescope
