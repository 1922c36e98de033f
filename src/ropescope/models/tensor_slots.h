// From a checkpoint's tensors to a struct of weights: every tensor that an architecture has, by name and
// shape.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope {

struct TensorSlot {
  std::string name;
  std::vector<int64_t> shape;
  at::Tensor* target = nullptr;  ///< must stay where it is until the slot is filled
  TensorKind kind = TensorKind::kOther;
  /// Where it is rows of a larger stored tensor (a fused qkv_proj): that one's name, the first row, and how many it has.
  std::string stored_name = {};
  int64_t first_row = 0, stored_rows = 0;

  const std::string& file_name() const { return stored_name.empty() ? name : stored_name; }
  std::vector<int64_t> file_shape() const;
};

struct DecoderConfig;
struct DecoderWeights;
/// The parameters of a decoder by their Hugging Face names, fused ones apart (self_attn.qkv_proj is q_proj, k_proj and
/// v_proj); a tied lm_head is none of its own, experts are not among them. Slots keep addresses: `weights.layers` must
/// already have its final size.
std::vector<TensorSlot> decoder_slots(const DecoderConfig& config, bool with_lm_head,
                                      DecoderWeights& weights);

/// The same outside of layers, and of one layer; decoder_slots is all of them in this order.
std::vector<TensorSlot> outside_slots(const DecoderConfig& config, bool with_lm_head,
                                      DecoderWeights& weights);
std::vector<TensorSlot> layer_slots(const DecoderConfig& config, int64_t layer, DecoderWeights& weights);

struct VisionConfig;
struct VisionNames;
struct VisionWeights;
/// The parameters of a vision tower up to its last layer, without what comes after it; by the usual names of its family.
std::vector<TensorSlot> vision_slots(const VisionConfig& config, VisionWeights& weights);
std::vector<TensorSlot> vision_slots(const VisionConfig& config, const VisionNames& names,
                                     VisionWeights& weights);

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

/// Bytes of weights in a type: all of them, and those that no mapped file has in this type already.
struct WeightBytes {
  uint64_t whole = 0, fresh = 0;
};
WeightBytes count_bytes(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots,
                        at::ScalarType dtype);

/// Takes every slot's tensor. Throws EnvironmentError, before anything is filled where that can be told, if the
/// weights do not fit in memory.
void fill_slots(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots, at::ScalarType dtype,
                at::Device device);

}  // namespace ropescope
