#include "ropescope/architectures/llava_names.h"

#include <algorithm>
#include <array>
#include <optional>

#include "ropescope/weights/renamed_checkpoint.h"

namespace ropescope {

namespace {

bool strip(std::string& name, const std::string& prefix) {
  if (name.rfind(prefix, 0) != 0) return false;
  name.erase(0, prefix.size());
  return true;
}

bool starts(const std::string& name, const char* prefix) { return name.rfind(prefix, 0) == 0; }

LlavaRole decoder_role(std::string name) {
  const bool whole = starts(name, "model.") || starts(name, "lm_head.");
  return {LlavaPart::kDecoder, whole ? std::move(name) : "model." + name};
}

LlavaRole tower_role(std::string name) {
  strip(name, "vision_model.");
  // A buffer of old files: 0, 1, 2, ...
  if (name == "embeddings.position_ids") return {LlavaPart::kOther, name};
  return {LlavaPart::kTower, std::move(name)};
}

}  // namespace

LlavaRole llava_role(const std::string& full) {
  std::string name = full;
  constexpr std::array<const char*, 9> kInside = {
      "language_model.", "vision_tower.", "multi_modal_projector.",
      "mm_projector.",   "image_newline", "visual.",
      "vision_model.",   "connector.",    "text_model."};
  if (starts(name, "model.") && std::any_of(kInside.begin(), kInside.end(), [&](const char* part) {
        return name.compare(6, std::char_traits<char>::length(part), part) == 0;
      })) {
    name.erase(0, 6);
    // (CLIP's file has a text_model of its own, without `model.` before it.)
    if (strip(name, "text_model.")) return decoder_role(std::move(name));
  }
  if (name == "image_newline") return {LlavaPart::kNewline, name};
  if (strip(name, "language_model.")) return decoder_role(std::move(name));
  if (strip(name, "vision_tower.")) {
    strip(name, "vision_tower.");
    return tower_role(std::move(name));
  }
  if (strip(name, "multi_modal_projector.")) return {LlavaPart::kProjector, name};
  if (strip(name, "mm_projector.")) {
    // A sequence of linear, GELU, linear.
    if (strip(name, "0.")) return {LlavaPart::kProjector, "linear_1." + name};
    if (strip(name, "2.")) return {LlavaPart::kProjector, "linear_2." + name};
    return {LlavaPart::kProjector, "mm_projector." + name};
  }
  if (strip(name, "visual.")) {
    constexpr std::array<const char*, 4> kConnector = {"merger.", "deepstack_merger_list.", "downsample.",
                                                       "adaptor."};
    for (const char* prefix : kConnector) {
      if (starts(name, prefix)) return {LlavaPart::kProjector, name};
    }
    return tower_role(std::move(name));
  }
  if (strip(name, "connector.")) return {LlavaPart::kProjector, name};
  if (strip(name, "mlp1.")) {
    // A sequence of layer norm, linear, GELU, linear.
    if (strip(name, "0.")) return {LlavaPart::kProjector, "layer_norm." + name};
    if (strip(name, "1.")) return {LlavaPart::kProjector, "linear_1." + name};
    if (strip(name, "3.")) return {LlavaPart::kProjector, "linear_2." + name};
    return {LlavaPart::kProjector, "mlp1." + name};
  }
  if (starts(name, "model.") || starts(name, "lm_head.")) return {LlavaPart::kDecoder, name};
  constexpr std::array<const char*, 6> kBareTower = {"vision_model.", "embeddings.",     "encoder.",
                                                     "pre_layrnorm.", "post_layernorm.", "head."};
  for (const char* prefix : kBareTower) {
    if (starts(name, prefix)) return tower_role(std::move(name));
  }
  return {LlavaPart::kOther, name};
}

std::unique_ptr<Checkpoint> llava_part(const Checkpoint& checkpoint, LlavaPart part) {
  return rename_tensors(checkpoint, [part](const std::string& name) -> std::optional<std::string> {
    const LlavaRole role = llava_role(name);
    if (role.part != part) return std::nullopt;
    return role.name;
  });
}

bool has_vision_tensors(const Checkpoint& checkpoint) {
  const auto& infos = checkpoint.tensors();
  return std::any_of(infos.begin(), infos.end(), [](const TensorInfo& info) {
    const LlavaPart part = llava_role(info.name).part;
    return part == LlavaPart::kTower || part == LlavaPart::kProjector || part == LlavaPart::kNewline;
  });
}

}  // namespace ropescope
