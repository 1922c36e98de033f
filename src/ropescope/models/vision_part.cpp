#include "ropescope/models/vision_part.h"

#include <algorithm>
#include <utility>

#include <fmt/ranges.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include "ropescope/architectures/llava_names.h"
#include "ropescope/architectures/vision_names.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

VisionTower load_tower_of(const Checkpoint& file, const std::shared_ptr<const Checkpoint>& shared,
                          const VlmConfig& config, VisionLoadOptions options) {
  const bool all = config.vision.packed || config.post_norm;
  const int64_t needed = *std::max_element(config.feature_layers.begin(), config.feature_layers.end());
  options.layers = all ? -1 : std::max(options.layers, needed);
  VisionTower tower = shared ? load_vision_tower(shared, config.vision, options)
                             : load_vision_tower(file, config.vision, options);
  if (config.post_norm && !tower.weights.post_norm.weight.defined()) {
    throw InputError("checkpoint: 1 tensor of the vision tower is missing: post_layernorm.weight");
  }
  return tower;
}

VisionPart load_part(const Checkpoint& file, VisionTower tower, const VlmConfig& config,
                     const VisionLoadOptions& options) {
  VisionPart part;
  part.config = config;
  part.tower = std::move(tower);
  const auto connector = llava_part(file, LlavaPart::kProjector);
  if (connector->tensors().empty()) {
    throw InputError("checkpoint: expected the connector of a {} model, found none", config.family->name);
  }
  part.connector = load_connector(*connector, config.connector, options.dtype, options.device);
  if (config.has_newline) {
    const auto newline = llava_part(file, LlavaPart::kNewline);
    const std::vector<TensorSlot> slots = {{"image_newline", {config.text_hidden_size}, &part.image_newline}};
    check_slots(*newline, slots, "image_newline");
    fill_slots(*newline, slots, options.dtype, options.device);
  }
  return part;
}

// A batch through the tower without a graph where nothing of it learns.
template <typename Run>
auto through_tower(const VisionPart& part, const at::Tensor& pixels, const Run& run) {
  const bool learns =
      at::GradMode::is_enabled() && (pixels.requires_grad() || requires_grad(part.tower.weights));
  const at::AutoGradMode mode(learns);
  return run();
}

// Tokens of features through the connector, whose weights may have to be brought.
at::Tensor connected(const VisionPart& part, const at::Tensor& features) {
  return with_weights(part.tower.access, part.connector.weights.first.weight, features,
                      [&](const at::Tensor& x) { return connect(part.connector, x); });
}

at::Tensor joined(const std::vector<at::Tensor>& parts) {
  return parts.size() == 1 ? parts.front() : at::cat(parts, 0);
}

// Frame pairs that go through the tower together: nothing crosses from one to another.
std::vector<std::vector<PatchGrid>> batches_of(const std::vector<PatchGrid>& grids, bool together) {
  if (together) return {grids};
  std::vector<std::vector<PatchGrid>> batches(1);
  int64_t room = kPatchesAtOnce;
  for (auto [t, h, w] : grids) {
    while (t > 0) {
      const int64_t fitting = std::min(t, room / (h * w));
      if (fitting > 0) {
        batches.back().push_back({fitting, h, w});
        room -= fitting * h * w;
        t -= fitting;
      } else if (batches.back().empty()) {
        // A picture that is larger than what goes at once goes alone.
        batches.back().push_back({1, h, w});
        room = 0;
        --t;
      }
      if (t > 0) {
        batches.emplace_back();
        room = kPatchesAtOnce;
      }
    }
  }
  return batches;
}

VisionFeatures encode_patches(const VisionPart& part, const VisionInputs& inputs, const VisionTaps& taps) {
  const at::Tensor& pixels = inputs.pixel_values;
  const int64_t merge = part.config.vision.merge_size;
  const int64_t count = count_patches(inputs.grids, merge);
  if (pixels.dim() != 2 || pixels.size(0) != count || inputs.grids.empty()) {
    throw InputError("pixel_values: expected [{}, {}] for these grids, found [{}]", count,
                     part.config.vision.patch_numbers(), fmt::join(pixels.sizes(), ", "));
  }
  const size_t deep = part.connector.deepstack.size();
  std::vector<at::Tensor> features;
  std::vector<std::vector<at::Tensor>> deepstack(deep);
  int64_t first = 0;
  for (const std::vector<PatchGrid>& batch : batches_of(inputs.grids, taps.any())) {
    const int64_t patches = count_patches(batch, merge);
    const at::Tensor some = pixels.narrow(0, first, patches);
    first += patches;
    const PatchFeatures found =
        through_tower(part, pixels, [&] { return patch_features(part.tower, some, batch, taps); });
    features.push_back(connected(part, found.features));
    for (size_t j = 0; j < deep; ++j)
      deepstack[j].push_back(connect_deep(part.connector, j, found.deep.at(j)));
  }
  VisionFeatures result;
  result.features = joined(features);
  for (const auto& parts : deepstack) result.deepstack.push_back(joined(parts));
  for (const auto& [t, h, w] : inputs.grids) result.lengths.push_back(t * h * w / (merge * merge));
  return result;
}

// Tiles of a large tower that go through it at once: enough to fill a machine, few enough to need little memory.
int64_t tiles_together(const VisionConfig& tower) {
  constexpr int64_t kFew = 8, kMost = 1024;
  constexpr int64_t kLarge = int64_t{577} * 1024;  // numbers of a tile's hidden state: CLIP-L/14
  return std::clamp(kFew * kLarge / (tower.tokens() * tower.hidden_size), kFew, kMost);
}

// [n, 3, S, S] -> [n, tokens of a tile, C].
at::Tensor encode_tile_batch(const VisionPart& part, const at::Tensor& tiles, const VisionTaps& taps) {
  const int64_t at_once = taps.any() ? tiles.size(0) : tiles_together(part.config.vision);
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < tiles.size(0); first += at_once) {
    const at::Tensor some = tiles.narrow(0, first, std::min(at_once, tiles.size(0) - first));
    const at::Tensor features = through_tower(part, tiles, [&] {
      // Taps see every layer that is there.
      std::vector<int64_t> layers = part.config.feature_layers;
      const auto there = static_cast<int64_t>(part.tower.weights.layers.size());
      const bool further = taps.any() && *std::max_element(layers.begin(), layers.end()) < there;
      if (further) layers.push_back(there);
      at::Tensor hidden = visual_features(part.tower, some, layers, taps);
      if (further) hidden = hidden.narrow(-1, 0, hidden.size(-1) - part.config.vision.hidden_size);
      return part.config.post_norm ? last_norm(part.tower, hidden) : hidden;
    });
    parts.push_back(connected(part, features));
  }
  if (parts.empty()) throw InputError("pixel_values: expected at least one tile, found none");
  return joined(parts);
}

int64_t tiles_of_picture(const std::optional<AnyresGeometry>& geometry) {
  return geometry ? 1 + geometry->tiles_cols_rows[0] * geometry->tiles_cols_rows[1] : 1;
}

// Tiles [n, 3, S, S] of all pictures one after the other, `counts` of each.
at::Tensor picture_tiles(const at::Tensor& pixels, const std::vector<int64_t>& counts) {
  if (pixels.dim() != 4 && pixels.dim() != 5) {
    throw InputError("pixel_values: expected [tiles, 3, S, S] or [pictures, tiles, 3, S, S], found [{}]",
                     fmt::join(pixels.sizes(), ", "));
  }
  int64_t total = 0;
  for (const int64_t count : counts) {
    if (count < 1) throw InputError("tiles: expected at least one a picture, found {}", count);
    total += count;
  }
  const bool by_picture = pixels.dim() == 5 && pixels.size(0) == static_cast<int64_t>(counts.size());
  if (by_picture) {
    std::vector<at::Tensor> parts;
    for (size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] > pixels.size(1)) {
        throw InputError("pixel_values: picture {} has {} tiles, found {}", i, counts[i], pixels.size(1));
      }
      parts.push_back(pixels.select(0, static_cast<int64_t>(i)).narrow(0, 0, counts[i]));
    }
    return joined(parts);
  }
  const at::Tensor flat = pixels.dim() == 5 ? pixels.flatten(0, 1) : pixels;
  if (flat.size(0) != total) {
    throw InputError("pixel_values: expected the {} tiles of {} pictures, found {}", total, counts.size(),
                     flat.size(0));
  }
  return flat;
}

VisionFeatures encode_plain_tiles(const VisionPart& part, const VisionInputs& inputs,
                                  const VisionTaps& taps) {
  std::vector<int64_t> counts = inputs.tiles;
  const at::Tensor& pixels = inputs.pixel_values;
  if (counts.empty()) {
    const int64_t all = pixels.dim() == 5 ? pixels.size(0) * pixels.size(1) : pixels.size(0);
    counts.assign(static_cast<size_t>(all), 1);
  }
  const at::Tensor features = encode_tile_batch(part, picture_tiles(pixels, counts), taps);
  VisionFeatures result;
  for (const int64_t count : counts) result.lengths.push_back(count * features.size(1));
  result.features = features.flatten(0, 1);
  return result;
}

VisionFeatures encode_anyres(const VisionPart& part, const VisionInputs& inputs, const VisionTaps& taps) {
  std::vector<int64_t> counts;
  for (const auto& geometry : inputs.anyres) {
    counts.push_back(tiles_of_picture(geometry));
    if (geometry && geometry->thumbnail_HW[0] != part.config.vision.grid()) {
      throw InputError("vision tower: expected {} patches a side as the tiles have, found {}",
                       geometry->thumbnail_HW[0], part.config.vision.grid());
    }
  }
  const at::Tensor features = encode_tile_batch(part, picture_tiles(inputs.pixel_values, counts), taps);
  VisionFeatures result;
  std::vector<at::Tensor> parts;
  int64_t first = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const at::Tensor tiles = features.narrow(0, first, counts[i]);
    first += counts[i];
    if (const auto& geometry = inputs.anyres[i]) {
      const auto [rows, columns] = anyres_map_size(*geometry, part.config.most_tiles);
      parts.push_back(onevision_features(tiles, *geometry, rows, columns, part.image_newline));
    } else {
      parts.push_back(at::cat({tiles[0], part.image_newline.unsqueeze(0)}, 0));
    }
    result.lengths.push_back(parts.back().size(0));
  }
  result.features = joined(parts);
  return result;
}

}  // namespace

VisionPart load_vision_part(const Checkpoint& checkpoint, const VlmConfig& config,
                            const VisionLoadOptions& options) {
  return load_part(checkpoint, load_tower_of(checkpoint, nullptr, config, options), config, options);
}

VisionPart load_vision_part(std::shared_ptr<const Checkpoint> checkpoint, const VlmConfig& config,
                            const VisionLoadOptions& options, std::shared_ptr<const Checkpoint> tower) {
  const auto& place = tower ? tower : checkpoint;
  return load_part(*checkpoint, load_tower_of(*place, place, config, options), config, options);
}

std::vector<TensorSlot> vision_part_slots(VisionPart& part) {
  const VlmFamily& family = *part.config.family;
  std::vector<TensorSlot> all;
  const auto add = [&](const std::string& prefix, std::vector<TensorSlot> slots) {
    for (TensorSlot& slot : slots) {
      slot.name = prefix + slot.name;
      if (!slot.stored_name.empty()) slot.stored_name = prefix + slot.stored_name;
      all.push_back(std::move(slot));
    }
  };
  const VisionConfig& config = part.config.vision;
  VisionWeights& weights = part.tower.weights;
  add(family.tower_prefix, vision_slots(config, weights));
  if (weights.post_norm.weight.defined()) {
    const std::string name = vision_names(config.kind).front().post_norm;
    std::vector<TensorSlot> norm = {{name + ".weight", {config.hidden_size}, &weights.post_norm.weight}};
    if (!config.rms_norm) norm.push_back({name + ".bias", {config.hidden_size}, &weights.post_norm.bias});
    add(family.tower_prefix, norm);
  }
  add(family.connector_prefix, connector_slots(part.connector));
  if (part.config.has_newline) {
    all.push_back({"image_newline", {part.config.text_hidden_size}, &part.image_newline});
  }
  return all;
}

bool requires_grad(const VisionPart& part) {
  return requires_grad(part.tower.weights) || requires_grad(part.connector) ||
         (part.image_newline.defined() && part.image_newline.requires_grad());
}

VisionFeatures encode(const VisionPart& part, const VisionInputs& inputs, const VisionTaps& taps) {
  if (!inputs.pixel_values.defined()) throw InputError("pixel_values: expected pictures, found none");
  switch (part.config.pictures) {
    case PictureTokens::kPatches:
      return encode_patches(part, inputs, taps);
    case PictureTokens::kTiles:
      return encode_plain_tiles(part, inputs, taps);
    case PictureTokens::kAnyres:
      return encode_anyres(part, inputs, taps);
  }
  throw InternalError("encode: no such pictures");
}

}  // namespace ropescope
