// The miniature's model. In LLaVA-NeXT's order a folder in llava-hf form that every command of ropescope loads; in the
// other orders one that only this program reads, since LLaVA-NeXT's form would say another order of the tokens.
// The native order has a tower of the Qwen2-VL kind in place of CLIP: 2-D rotation, no learned positions, any grid.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <ATen/core/Tensor.h>

#include "ropescope/models/llava.h"

#include "pictures.h"

namespace ropescope::miniature {

struct ModelSize {
  int64_t width = 96;  ///< channels of the decoder
  int64_t heads = 3;
  int64_t layers = 3;
  int64_t inner = 192;  ///< channels inside the decoder's MLP
  int64_t tower_width = 48, tower_heads = 4, tower_layers = 2;
};

/// Random weights that depend on `seed` only.
Llava fresh_model(const ModelSize& size, double rope_theta, uint64_t seed, const World& world = {});

/// config.json, model.safetensors, tokenizer.json and tokenizer_config.json, complete or not at all. An
/// existing folder is replaced. `scheme`: that it was trained under, for config.json; empty: none.
void save_model(Llava& llava, const std::filesystem::path& folder, const std::string& scheme = "",
                const World& world = {});

/// A folder that save_model wrote; float32 tensors of their own, on the CPU.
Llava load_model(const std::filesystem::path& folder, const World& world = {});

/// The projector alone: features [..., tower channels] -> [..., width]. Differentiable.
at::Tensor project(const Llava& llava, const at::Tensor& features);

}  // namespace ropescope::miniature
