#include <string>
#include <vector>

#include <fmt/format.h>

#include "ropescope/architectures/llava_names.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/streamed_weights.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/models/vision_tower.h"

namespace ropescope {

namespace {

class Slots {
 public:
  void add(const std::string& name, std::vector<int64_t> shape, at::Tensor& target) {
    all.push_back({name, std::move(shape), &target});
  }
  /// `name`.weight [out, in] and `name`.bias [out].
  void add(const std::string& name, int64_t out, int64_t in, Affine& map) {
    add(name + ".weight", {out, in}, map.weight);
    add(name + ".bias", {out}, map.bias);
  }
  void add_norm(const std::string& name, int64_t size, Affine& norm) {
    add(name + ".weight", {size}, norm.weight);
    add(name + ".bias", {size}, norm.bias);
  }

  std::vector<TensorSlot> all;
};

void add_embeddings(const VisionConfig& config, VisionWeights& weights, Slots& slots) {
  const int64_t c = config.hidden_size, p = config.patch_size;
  slots.add("embeddings.patch_embedding.weight", {c, config.num_channels, p, p}, weights.patch.weight);
  slots.add("embeddings.position_embedding.weight", {config.tokens(), c}, weights.position);
  if (config.class_token()) {
    slots.add("embeddings.class_embedding", {c}, weights.class_embedding);
    slots.add_norm("pre_layrnorm", c, weights.pre_norm);  // so it is spelled
  } else {
    slots.add("embeddings.patch_embedding.bias", {c}, weights.patch.bias);
  }
}

void add_layer(const VisionConfig& config, size_t index, VisionLayerWeights& layer, Slots& slots) {
  const int64_t c = config.hidden_size, inner = config.intermediate_size;
  const auto name = [&](const char* part) { return fmt::format("encoder.layers.{}.{}", index, part); };
  slots.add_norm(name("layer_norm1"), c, layer.norm1);
  slots.add(name("self_attn.q_proj"), c, c, layer.q);
  slots.add(name("self_attn.k_proj"), c, c, layer.k);
  slots.add(name("self_attn.v_proj"), c, c, layer.v);
  slots.add(name("self_attn.out_proj"), c, c, layer.out);
  slots.add_norm(name("layer_norm2"), c, layer.norm2);
  slots.add(name("mlp.fc1"), inner, c, layer.fc1);
  slots.add(name("mlp.fc2"), c, inner, layer.fc2);
}

void add_head(const VisionConfig& config, VisionHeadWeights& head, Slots& slots) {
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
  Slots slots;
  add_embeddings(config, weights, slots);
  for (size_t l = 0; l < weights.layers.size(); ++l) add_layer(config, l, weights.layers[l], slots);
  return slots.all;
}

namespace {

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
  Slots slots;
  slots.all = vision_slots(config, tower.weights);
  if (whole && checkpoint->find("post_layernorm.weight") != nullptr) {
    slots.add_norm("post_layernorm", config.hidden_size, tower.weights.post_norm);
  }
  if (whole && config.use_head && checkpoint->find("head.probe") != nullptr) {
    add_head(config, tower.weights.head, slots);
  }
  check_slots(*checkpoint, slots.all, "vision tower");
  if (whole) {
    warn_of_other_tensors(*checkpoint, slots.all, "vision tower",
                          [](const std::string& name) { return name.rfind("head.", 0) == 0; });
  }
  if (!options.streamed) {
    fill_slots(*checkpoint, slots.all, options.dtype, options.device);
    return tower;
  }
  if (!shared) throw InternalError("load_vision_tower: streamed layers need a shared checkpoint");
  const std::shared_ptr<const Checkpoint> kept(checkpoint.get(), [checkpoint, shared](const Checkpoint*) {});
  const auto access = std::make_shared<StreamedWeights>(kept, options.dtype, options.device);
  for (size_t l = 0; l < tower.weights.layers.size(); ++l) {
    Slots of_layer;
    add_layer(config, l, tower.weights.layers[l], of_layer);
    access->add_part(of_layer.all);
  }
  std::erase_if(slots.all, [](const TensorSlot& slot) { return slot.name.starts_with("encoder.layers."); });
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
