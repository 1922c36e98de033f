#include "ropescope/models/llava.h"

#include <algorithm>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/llava_names.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/kernels/in_place_gradients.h"
#include "ropescope/models/kernels/linear.h"
#include "ropescope/models/tensor_slots.h"

namespace ropescope {

namespace {

std::vector<TensorSlot> projector_slots(const LlavaConfig& config, Projector& projector) {
  const int64_t in = config.feature_size(), out = config.decoder.hidden_size;
  std::vector<TensorSlot> slots = {{"linear_1.weight", {out, in}, &projector.linear_1.weight},
                                   {"linear_2.weight", {out, out}, &projector.linear_2.weight}};
  if (config.projector_bias) {
    slots.push_back({"linear_1.bias", {out}, &projector.linear_1.bias});
    slots.push_back({"linear_2.bias", {out}, &projector.linear_2.bias});
  }
  return slots;
}

Projector load_projector(const Checkpoint& file, const LlavaConfig& config, const LoadOptions& options) {
  const auto checkpoint = llava_part(file, LlavaPart::kProjector);
  if (checkpoint->tensors().empty()) {
    throw InputError("checkpoint: expected a projector (multi_modal_projector or mm_projector), found none");
  }
  Projector projector;
  projector.activation = config.projector_activation;
  const std::vector<TensorSlot> slots = projector_slots(config, projector);
  check_slots(*checkpoint, slots, "projector");
  warn_of_other_tensors(*checkpoint, slots, "projector", [](const std::string&) { return false; });
  fill_slots(*checkpoint, slots, options.dtype, options.device);
  return projector;
}

at::Tensor load_newline(const Checkpoint& file, const LlavaConfig& config, const LoadOptions& options) {
  const auto checkpoint = llava_part(file, LlavaPart::kNewline);
  at::Tensor newline;
  const std::vector<TensorSlot> slots = {{"image_newline", {config.decoder.hidden_size}, &newline}};
  check_slots(*checkpoint, slots, "image_newline");
  fill_slots(*checkpoint, slots, options.dtype, options.device);
  return newline;
}

void load_tower(const Checkpoint& checkpoint, const std::shared_ptr<const Checkpoint>& shared,
                const std::filesystem::path& folder, const LoadOptions& options, Llava& llava) {
  const LlavaConfig& config = llava.config;
  VisionLoadOptions tower_options;
  tower_options.device = options.device;
  tower_options.dtype = options.dtype;
  tower_options.layers = *std::max_element(config.feature_layers.begin(), config.feature_layers.end());
  if (!llava_part(checkpoint, LlavaPart::kTower)->tensors().empty()) {
    // Beside a decoder that is streamed there is no room to waste.
    tower_options.streamed = shared != nullptr && llava.decoder.access != nullptr;
    llava.tower = tower_options.streamed ? load_vision_tower(shared, config.tower, tower_options)
                                         : load_vision_tower(checkpoint, config.tower, tower_options);
    return;
  }
  const auto place = find_tower_folder(folder, config.tower_name);
  if (!place) {
    throw InputError(
        "checkpoint: it holds no vision tower, and there is no folder \"{}\" in {} or beside it. Try: put "
        "the "
        "vision tower there",
        config.tower_name.empty() ? "vision_tower" : config.tower_name, folder.string());
  }
  const std::shared_ptr<const Checkpoint> outside = open_checkpoint(*place);
  tower_options.streamed = llava.decoder.access != nullptr;
  llava.tower = load_vision_tower(outside, config.tower, tower_options);
  llava.tower_files = outside->files();
}

at::Tensor project(const Projector& projector, const at::Tensor& features) {
  using kernels::linear;
  const at::Tensor inner =
      activate(linear(features, projector.linear_1.weight, projector.linear_1.bias), projector.activation);
  return linear(inner, projector.linear_2.weight, projector.linear_2.bias);
}

// Features of the high-resolution tiles [rows * columns of tiles, g^2, C] -> the kept rows [H1 * (W1 + 1), C]
// with a newline at the end of each.
at::Tensor high_resolution(const at::Tensor& tiles, const AnyresGeometry& geometry,
                           const at::Tensor& newline) {
  const int64_t columns = geometry.tiles_cols_rows[0], rows = geometry.tiles_cols_rows[1];
  const int64_t g = geometry.thumbnail_HW[0], size = tiles.size(2);
  const auto [height, width] = geometry.feat_H1W1;
  const std::array<int64_t, 2> offset = geometry.feat_offset_rc.value_or(std::array<int64_t, 2>{0, 0});
  at::Tensor mosaic = tiles.view({rows, columns, g, g, size})
                          .permute({0, 2, 1, 3, 4})
                          .reshape({rows * g, columns * g, size})
                          .narrow(0, offset[0], height)
                          .narrow(1, offset[1], width);
  if (geometry.newline) mosaic = at::cat({mosaic, newline.expand({height, 1, size})}, 1);
  return mosaic.reshape({-1, size});
}

int64_t tiles_at_once(const VisionConfig& tower) {
  constexpr int64_t kLarge = int64_t{577} * 1024,
                    kMost = 1024;  // numbers of a tile's hidden state: CLIP-L/14
  return std::clamp(kTilesAtOnce * kLarge / (tower.tokens() * tower.hidden_size), kTilesAtOnce, kMost);
}

int64_t tiles_of(const AnyresGeometry& geometry) {
  return 1 + geometry.tiles_cols_rows[0] * geometry.tiles_cols_rows[1];
}

// Where an extreme shape keeps no row or no column, its tiles show nothing that anything looks at.
bool sees_tiles(const AnyresGeometry& geometry) {
  return geometry.feat_H1W1[0] > 0 && geometry.feat_H1W1[1] > 0;
}

int64_t tiles_seen(const AnyresGeometry& geometry) { return sees_tiles(geometry) ? tiles_of(geometry) : 1; }

void check_image(const Llava& llava, const LlavaImage& image) {
  const AnyresGeometry& geometry = image.geometry;
  if (image.pixel_values.dim() != 4 || image.pixel_values.size(0) < tiles_of(geometry)) {
    throw InputError("pixel_values: an image of {}x{} pixels has {} tiles, found {}", geometry.size_wh[0],
                     geometry.size_wh[1], tiles_of(geometry),
                     image.pixel_values.dim() == 4 ? image.pixel_values.size(0) : 0);
  }
  if (geometry.thumbnail_HW[0] != llava.tower.config.grid()) {
    throw InputError("vision tower: expected {} patches a side as the tiles have, found {}",
                     geometry.thumbnail_HW[0], llava.tower.config.grid());
  }
}

// Features of an image's tiles [n, g^2, C] -> [geometry.tokens, C].
at::Tensor assemble(const Llava& llava, const at::Tensor& features, const AnyresGeometry& geometry) {
  const at::Tensor thumbnail = features[0];
  if (sees_tiles(geometry)) {
    const at::Tensor tiles = features.narrow(0, 1, features.size(0) - 1);
    return at::cat({thumbnail, high_resolution(tiles, geometry, llava.image_newline)}, 0);
  }
  if (geometry.feat_H1W1[0] == 0 || !geometry.newline) return thumbnail;
  return at::cat({thumbnail, llava.image_newline.expand({geometry.feat_H1W1[0], thumbnail.size(1)})}, 0);
}

}  // namespace

std::vector<TensorSlot> llava_slots(Llava& llava) {
  std::vector<TensorSlot> all;
  const auto add = [&](const std::string& prefix, std::vector<TensorSlot> slots) {
    for (TensorSlot& slot : slots) {
      slot.name = prefix + slot.name;
      all.push_back(std::move(slot));
    }
  };
  add("model.vision_tower.", vision_slots(llava.config.tower, llava.tower.weights));
  add("model.multi_modal_projector.", projector_slots(llava.config, llava.projector));
  add("model.", {{"image_newline", {llava.config.decoder.hidden_size}, &llava.image_newline}});
  const std::string model = "model.";
  for (TensorSlot& slot : decoder_slots(llava.decoder.config, /*with_lm_head=*/true, llava.decoder.weights)) {
    const bool inside = slot.name.rfind(model, 0) == 0;
    if (inside) slot.name = "model.language_model." + slot.name.substr(model.size());
    all.push_back(std::move(slot));
  }
  return all;
}

namespace {

Llava load(const Checkpoint& checkpoint, const std::shared_ptr<const Checkpoint>& shared,
           const LlavaConfig& config, const std::filesystem::path& folder, const LoadOptions& options) {
  Llava llava;
  llava.config = config;
  llava.decoder = shared ? load_decoder(shared, config.decoder, options)
                         : load_decoder(checkpoint, config.decoder, options);
  llava.config.decoder.tie_word_embeddings = llava.decoder.config.tie_word_embeddings;
  llava.projector = load_projector(checkpoint, config, options);
  llava.image_newline = load_newline(checkpoint, config, options);
  load_tower(checkpoint, shared, folder, options, llava);
  return llava;
}

}  // namespace

Llava load_llava(const Checkpoint& checkpoint, const LlavaConfig& config, const std::filesystem::path& folder,
                 const LoadOptions& options) {
  return load(checkpoint, nullptr, config, folder, options);
}

Llava load_llava(std::shared_ptr<const Checkpoint> checkpoint, const LlavaConfig& config,
                 const std::filesystem::path& folder, const LoadOptions& options) {
  return load(*checkpoint, checkpoint, config, folder, options);
}

at::Tensor encode_tiles(const Llava& llava, const at::Tensor& pixel_values) {
  const bool learns =
      at::GradMode::is_enabled() && (pixel_values.requires_grad() || requires_grad(llava.tower.weights));
  const int64_t at_once = tiles_at_once(llava.tower.config);
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < pixel_values.size(0); first += at_once) {
    const int64_t count = std::min(at_once, pixel_values.size(0) - first);
    at::Tensor features;
    {
      const at::AutoGradMode mode(learns);
      features =
          visual_features(llava.tower, pixel_values.narrow(0, first, count), llava.config.feature_layers);
    }
    parts.push_back(with_weights(llava.decoder.access, llava.projector.linear_1.weight, features,
                                 [&](const at::Tensor& x) { return project(llava.projector, x); }));
  }
  if (parts.empty()) throw InputError("pixel_values: expected at least one tile, found none");
  return parts.size() == 1 ? parts[0] : at::cat(parts, 0);
}

at::Tensor image_embeddings(const Llava& llava, const LlavaImage& image) {
  return image_embeddings(llava, std::vector<LlavaImage>{image}).front();
}

std::vector<at::Tensor> image_embeddings(const Llava& llava, const std::vector<LlavaImage>& images) {
  if (images.empty()) return {};
  std::vector<at::Tensor> tiles;
  for (const LlavaImage& image : images) {
    check_image(llava, image);
    tiles.push_back(image.pixel_values.narrow(0, 0, tiles_seen(image.geometry)));
  }
  const at::Tensor features = encode_tiles(llava, tiles.size() == 1 ? tiles[0] : at::cat(tiles, 0));
  std::vector<at::Tensor> embeddings;
  int64_t first = 0;
  for (const LlavaImage& image : images) {
    const int64_t count = tiles_seen(image.geometry);
    embeddings.push_back(assemble(llava, features.narrow(0, first, count), image.geometry));
    first += count;
  }
  return embeddings;
}

at::Tensor merge_embeddings(const Llava& llava, const ImagePrompt& prompt,
                            const std::vector<LlavaImage>& images) {
  return merge_embeddings(llava, prompt, image_embeddings(llava, images));
}

at::Tensor merge_embeddings(const Llava& llava, const ImagePrompt& prompt,
                            const std::vector<at::Tensor>& seen) {
  const at::Tensor& table = llava.decoder.weights.embed_tokens;
  const int64_t batch = prompt.input_ids.size(0), tokens = prompt.input_ids.size(1);
  // Text first, all at once; an image's run is then replaced by its embeddings.
  const at::Tensor flat = prompt.input_ids.reshape({-1}).contiguous();
  at::Tensor text_ids = flat.clone();
  auto* ids = text_ids.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < prompt.image_of.size(); ++i) {
    if (prompt.image_of[i] != ImagePrompt::kText) ids[i] = 0;
  }
  at::Tensor text;
  {
    const HeldWeights held(llava.decoder.access, table);
    text = embed_tokens(llava.decoder, text_ids.to(table.device()));
  }
  std::vector<at::Tensor> parts;
  const auto total = static_cast<int64_t>(prompt.image_of.size());
  for (int64_t first = 0; first < total;) {
    const int64_t image = prompt.image_of[static_cast<size_t>(first)];
    int64_t end = first + 1;
    while (end < total && prompt.image_of[static_cast<size_t>(end)] == image) ++end;
    if (image == ImagePrompt::kText) {
      parts.push_back(text.narrow(0, first, end - first));
    } else if (image == ImagePrompt::kPadding) {
      parts.push_back(at::zeros({end - first, table.size(1)}, table.options().requires_grad(false)));
    } else {
      const at::Tensor& embeddings = seen.at(static_cast<size_t>(image));
      if (embeddings.size(0) != end - first) {
        throw InternalError("merge_embeddings: image {} has {} tokens, its place {}", image,
                            embeddings.size(0), end - first);
      }
      parts.push_back(embeddings);
    }
    first = end;
  }
  return at::cat(parts, 0).view({batch, tokens, table.size(1)});
}

}  // namespace ropescope
