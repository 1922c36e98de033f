#include <cstdlib>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/llava_names.h"
#include "ropescope/architectures/vision_names.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/streamed_weights.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/models/vision_tower.h"

namespace ropescope {

namespace {

class VisionSlots {
 public:
  void add(const std::string& name, std::vector<int64_t> shape, at::Tensor& target) {
    all.push_back({name, std::move(shape), &target});
  }
  /// `name`.weight [out, in] and `name`.bias [out].
  void add(const std::string& name, int64_t out, int64_t in, Affine& map, bool bias = true) {
    add(name + ".weight", {out, in}, map.weight);
    if (bias) add(name + ".bias", {out}, map.bias);
  }
  void add_norm(const std::string& name, int64_t size, Affine& norm, bool bias = true) {
    add(name + ".weight", {size}, norm.weight);
    if (bias) add(name + ".bias", {size}, norm.bias);
  }
  /// Rows of q, k or v (`part` 0 to 2) of a matrix that has all three.
  void add_part(const std::string& name, const char* part_name, int64_t part, int64_t size, Affine& map,
                bool bias) {
    const auto add_rows = [&](const std::string& suffix, std::vector<int64_t> shape, at::Tensor& target) {
      all.push_back({name + "." + part_name + suffix, std::move(shape), &target, TensorKind::kOther,
                     name + suffix, part * size, 3 * size});
    };
    add_rows(".weight", {size, size}, map.weight);
    if (bias) add_rows(".bias", {size}, map.bias);
  }

  std::vector<TensorSlot> all;
};

void add_embeddings(const VisionConfig& config, const VisionNames& names, VisionWeights& weights,
                    VisionSlots& slots) {
  const int64_t c = config.hidden_size, p = config.patch_size;
  const std::string patch = names.patch;
  std::vector<int64_t> patch_shape = {c, config.num_channels, p, p};
  if (config.packed) patch_shape.insert(patch_shape.begin() + 2, config.temporal_patch_size);
  slots.add(patch + ".weight", patch_shape, weights.patch.weight);
  if (config.positions != VisionPositions::kNone) {
    const std::vector<int64_t> batched = {1, config.tokens(), c};
    slots.add(names.position, names.batched ? batched : std::vector{config.tokens(), c}, weights.position);
  }
  if (config.class_token()) {
    slots.add(names.class_token, names.batched ? std::vector<int64_t>{1, 1, c} : std::vector{c},
              weights.class_embedding);
  }
  if (config.pre_norm()) slots.add_norm(names.pre_norm, c, weights.pre_norm, !config.rms_norm);
  if (config.patch_bias()) slots.add(patch + ".bias", {c}, weights.patch.bias);
}

void add_layer(const VisionConfig& config, const VisionNames& names, size_t index, VisionLayerWeights& layer,
               VisionSlots& slots) {
  const int64_t c = config.hidden_size, inner = config.intermediate_size;
  const auto name = [&](const char* part) { return fmt::format("{}.{}.{}", names.layers, index, part); };
  slots.add_norm(name(names.norm1), c, layer.norm1, !config.rms_norm);
  if (*names.qkv != '\0') {
    slots.add_part(name(names.qkv), "q", 0, c, layer.q, config.qkv_bias);
    slots.add_part(name(names.qkv), "k", 1, c, layer.k, config.qkv_bias);
    slots.add_part(name(names.qkv), "v", 2, c, layer.v, config.qkv_bias);
  } else {
    slots.add(name(names.q), c, c, layer.q, config.qkv_bias);
    slots.add(name(names.k), c, c, layer.k, config.qkv_bias);
    slots.add(name(names.v), c, c, layer.v, config.qkv_bias);
  }
  slots.add(name(names.out), c, c, layer.out, config.out_bias);
  slots.add_norm(name(names.norm2), c, layer.norm2, !config.rms_norm);
  if (config.gated_mlp) slots.add(name(names.gate), inner, c, layer.gate, config.mlp_bias);
  slots.add(name(names.fc1), inner, c, layer.fc1, config.mlp_bias);
  slots.add(name(names.fc2), c, inner, layer.fc2, config.mlp_bias);
  if (config.layer_scale) {
    slots.add(name(names.scale1), {c}, layer.scale1);
    slots.add(name(names.scale2), {c}, layer.scale2);
  }
}

void add_head(const VisionConfig& config, VisionHeadWeights& head, VisionSlots& slots) {
  const int64_t c = config.hidden_size, inner = config.intermediate_size;
  slots.add("head.probe", {1, 1, c}, head.probe);
  slots.add("head.attention.in_proj_weight", {3 * c, c}, head.in_proj.weight);
  slots.add("head.attention.in_proj_bias", {3 * c}, head.in_proj.bias);
  slots.add("head.attention.out_proj", c, c, head.out_proj);
  slots.add_norm("head.layernorm", c, head.norm);
  slots.add("head.mlp.fc1", inner, c, head.fc1);
  slots.add("head.mlp.fc2", c, inner, head.fc2);
}

}  // namespace

std::vector<TensorSlot> vision_slots(const VisionConfig& config, VisionWeights& weights) {
  return vision_slots(config, vision_names(config.kind).front(), weights);
}

std::vector<TensorSlot> vision_slots(const VisionConfig& config, const VisionNames& names,
                                     VisionWeights& weights) {
  VisionSlots slots;
  add_embeddings(config, names, weights, slots);
  for (size_t l = 0; l < weights.layers.size(); ++l) add_layer(config, names, l, weights.layers[l], slots);
  return slots.all;
}

namespace {

// What a tower's part of a file may hold besides: buffers, and what means nothing to features.
bool is_idle_vision_tensor(const std::string& name) {
  return name.starts_with("head.") || name == "embeddings.mask_token" ||
         name.ends_with("rotary_pos_emb.inv_freq");
}

VisionTower load(const Checkpoint& file, const std::shared_ptr<const Checkpoint>& shared,
                 const VisionConfig& config, const VisionLoadOptions& options) {
  const std::shared_ptr<const Checkpoint> checkpoint = llava_part(file, LlavaPart::kTower);
  if (checkpoint->tensors().empty()) throw InputError("checkpoint: it holds no vision tower");
  const bool whole = options.layers < 0;
  const int64_t layers = whole ? config.num_hidden_layers : options.layers;
  if (layers > config.num_hidden_layers) {
    throw InternalError("load_vision_tower: expected at most {} layers, found {}", config.num_hidden_layers,
                        layers);
  }
  VisionTower tower;
  tower.config = config;
  tower.weights.layers.resize(static_cast<size_t>(layers));
  const VisionNames& names = vision_names(config.kind, *checkpoint);
  VisionSlots slots;
  slots.all = vision_slots(config, names, tower.weights);
  const std::string post_norm = names.post_norm;
  // CLIP's and SigLIP's may be left out of a file that has no use for it.
  if (whole && !post_norm.empty() && (config.packed || checkpoint->find(post_norm + ".weight") != nullptr)) {
    slots.add_norm(post_norm, config.hidden_size, tower.weights.post_norm, !config.rms_norm);
  }
  if (whole && config.use_head && checkpoint->find("head.probe") != nullptr) {
    add_head(config, tower.weights.head, slots);
  }
  check_slots(*checkpoint, slots.all, "vision tower");
  for (const TensorSlot& slot : slots.all) {
    if (!slot.stored_name.empty() && checkpoint->find(slot.stored_name + "_scale_inv") != nullptr) {
      throw UnsupportedModel("checkpoint: {}: expected a matrix without block scales, found {}_scale_inv",
                             slot.stored_name, slot.stored_name);
    }
  }
  const std::string layer_prefix = std::string(names.layers) + ".";
  warn_of_other_tensors(*checkpoint, slots.all, "vision tower", [&](const std::string& name) {
    // Of a tower that is not needed whole: later layers, and the norm after the last.
    if (!whole && name.starts_with(layer_prefix)) {
      return std::atoll(name.c_str() + layer_prefix.size()) >= layers;
    }
    const bool after = !whole && !post_norm.empty() && name.starts_with(post_norm + ".");
    return after || is_idle_vision_tensor(name);
  });
  if (!options.streamed) {
    fill_slots(*checkpoint, slots.all, options.dtype, options.device);
    return tower;
  }
  if (!shared) throw InternalError("load_vision_tower: streamed layers need a shared checkpoint");
  const std::shared_ptr<const Checkpoint> kept(checkpoint.get(), [checkpoint, shared](const Checkpoint*) {});
  const auto access = std::make_shared<StreamedWeights>(kept, options.dtype, options.device);
  for (size_t l = 0; l < tower.weights.layers.size(); ++l) {
    VisionSlots of_layer;
    add_layer(config, names, l, tower.weights.layers[l], of_layer);
    access->add_part(of_layer.all);
  }
  std::erase_if(slots.all, [&](const TensorSlot& slot) { return slot.name.starts_with(layer_prefix); });
  fill_slots(*checkpoint, slots.all, options.dtype, options.device);
  tower.access = access;
  return tower;
}

}  // namespace

VisionTower load_vision_tower(const Checkpoint& checkpoint, const VisionConfig& config,
                              const VisionLoadOptions& options) {
  return load(checkpoint, nullptr, config, options);
}

VisionTower load_vision_tower(std::shared_ptr<const Checkpoint> checkpoint, const VisionConfig& config,
                              const VisionLoadOptions& options) {
  return load(*checkpoint, checkpoint, config, options);
}

}  // namespace ropescope
