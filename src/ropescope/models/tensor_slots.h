// From a checkpoint's tensors to a struct of weights: every tensor that an architecture has, by name and
// shape.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/weights/checkpoint.h"

namespace ropescope {

struct TensorSlot {
  std::string name;
  std::vector<int64_t> shape;
  at::Tensor* target = nullptr;  ///< must stay where it is until the slot is filled
};

struct DecoderConfig;
struct DecoderWeights;
/// The parameters of a decoder by their Hugging Face names; a tied lm_head is none of its own. Slots keep
/// addresses: `weights.layers` must already have its final size.
std::vector<TensorSlot> decoder_slots(const DecoderConfig& config, bool with_lm_head,
                                      DecoderWeights& weights);

struct VisionConfig;
struct VisionWeights;
/// The parameters of a vision tower up to its last layer, without what comes after it.
std::vector<TensorSlot> vision_slots(const VisionConfig& config, VisionWeights& weights);

struct Llava;
/// All parameters of a LLaVA-NeXT model by the names that transformers gives them
/// ("model.vision_tower....", "model.multi_modal_projector....", "model.image_newline",
/// "model.language_model....", "lm_head.weight"). A tied output matrix is none of its own.
std::vector<TensorSlot> llava_slots(Llava& llava);

/// Throws InputError listing tensors that are missing, or whose shape is another (expected, found). `model`
/// names the architecture in errors ("decoder").
void check_slots(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots,
                 const std::string& model);

/// Warns once, in one line, of tensors without a slot, unless `ignored` says that they mean nothing.
void warn_of_other_tensors(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots,
                           const std::string& model,
                           const std::function<bool(const std::string& name)>& ignored);

/// Takes every slot's tensor. Throws EnvironmentError, before anything is filled where that can be told, if the
/// weights do not fit in memory.
void fill_slots(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots, at::ScalarType dtype,
                at::Device device);

}  // namespace ropescope
