#include "ropescope/train/vlm_slots.h"

#include <algorithm>
#include <set>
#include <utility>

#include "ropescope/architectures/vision_names.h"

namespace ropescope {

namespace {

// Before the family's own names: LLaVA-NeXT's checkpoints of earlier versions have transformers' names.
std::string model_prefix(const VlmFamily& family) { return family.name == "llava_next" ? "model." : ""; }

bool starts(const std::string& text, const std::string& with) { return text.rfind(with, 0) == 0; }

/// The name in a file of the family's form of a tensor that a language model's file has as `name`.
std::string decoder_name(const VlmFamily& family, const std::string& name) {
  const bool inside = starts(name, "model.");
  const std::string rest = inside ? name.substr(6) : name;
  const std::string& tower = family.tower_prefix;
  if (!model_prefix(family).empty() || tower == "model.visual.") {
    return inside ? "model.language_model." + rest : name;
  }
  if (tower == "model.vision_model.") return inside ? "model.text_model." + rest : name;
  if (tower == "visual.") return name;
  return "language_model." + name;
}

/// Prefix and first part of each name: all that is told apart by it. One pattern where the prefix is of `names` alone.
std::vector<std::string> patterns_of(const std::string& prefix, bool shared,
                                     const std::vector<TensorSlot>& slots) {
  if (!shared) return {prefix + "*"};
  std::set<std::string> parts;
  for (const TensorSlot& slot : slots) parts.insert(slot.name.substr(0, slot.name.find('.')));
  std::vector<std::string> patterns;
  for (const std::string& part : parts) patterns.push_back(prefix + part + ".*");
  return patterns;
}

}  // namespace

std::string tower_prefix(const VlmFamily& family) { return model_prefix(family) + family.tower_prefix; }

std::vector<TensorSlot> vlm_slots(Vlm& vlm) {
  const VlmFamily& family = *vlm.config.family;
  std::vector<TensorSlot> all = vision_part_slots(vlm.eyes);
  const std::string before = model_prefix(family), connector = before + family.connector_prefix;
  for (TensorSlot& slot : all) {
    slot.name = before + slot.name;
    if (!slot.stored_name.empty()) slot.stored_name = before + slot.stored_name;
  }
  if (family.name == "llava_next") {
    // Matrices of the projector before its biases: sums over all parameters depend on their order.
    const auto of_connector = [&](const TensorSlot& slot) { return starts(slot.name, connector); };
    const auto first = std::find_if(all.begin(), all.end(), of_connector);
    const auto last = std::find_if_not(first, all.end(), of_connector);
    std::stable_partition(first, last, [](const TensorSlot& slot) { return slot.shape.size() > 1; });
  }
  for (TensorSlot& slot : decoder_slots(vlm.decoder.config, /*with_lm_head=*/true, vlm.decoder.weights)) {
    slot.name = decoder_name(family, slot.name);
    if (!slot.stored_name.empty()) slot.stored_name = decoder_name(family, slot.stored_name);
    all.push_back(std::move(slot));
  }
  return all;
}

std::vector<std::string> connector_patterns(const VlmConfig& config) {
  const VlmFamily& family = *config.family;
  Connector connector;
  connector.config = config.connector;
  return patterns_of(model_prefix(family) + family.connector_prefix,
                     family.connector_prefix == family.tower_prefix, connector_slots(connector));
}

std::vector<std::string> tower_patterns(const VlmConfig& config) {
  const VlmFamily& family = *config.family;
  VisionPart part;
  part.config = config;
  part.tower.weights.layers.resize(1);
  std::vector<TensorSlot> slots = vision_slots(config.vision, part.tower.weights);
  const std::string norm = vision_names(config.vision.kind).front().post_norm;
  if (!norm.empty()) slots.push_back({norm + ".weight", {}, nullptr});
  return patterns_of(tower_prefix(family), family.connector_prefix == family.tower_prefix, slots);
}

}  // namespace ropescope
