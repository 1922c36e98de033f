#include "ropescope/models/vlm.h"

#include <algorithm>
#include <array>
#include <utility>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/llava_names.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/rope/scheme.h"

namespace ropescope {

MediaMarks media_marks(const VlmConfig& config) {
  MediaMarks marks;
  marks.image = config.tokens.image.value_or(MediaMarks::kAnyItem);
  // GLM writes the picture's token for its clips.
  const bool shared = config.connector.kind == ConnectorKind::kStridedMerger;
  marks.video = shared ? marks.image : config.tokens.video.value_or(marks.image);
  marks.ids_per_second = config.tokens_per_second;
  return marks;
}

namespace {

/// The tower that an original LLaVA checkpoint names in its config.json and does not hold.
std::shared_ptr<const Checkpoint> tower_beside(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "config.json";
  const std::string name = json_string_or(read_json_file(file), "mm_vision_tower", "", file.string());
  if (const auto place = find_tower_folder(folder, name)) return open_checkpoint(*place);
  throw InputError(
      "checkpoint: it holds no vision tower, and there is no folder \"{}\" in {} or beside it. Try: put the vision tower "
      "there",
      name.empty() ? "vision_tower" : name, folder.string());
}

}  // namespace

Vlm load_vlm(std::shared_ptr<const Checkpoint> checkpoint, const VlmConfig& config,
             const DecoderConfig& decoder, const std::filesystem::path& folder, const LoadOptions& options,
             bool whole_tower) {
  Vlm vlm;
  vlm.config = config;
  vlm.decoder = load_decoder(checkpoint, decoder, options);
  VisionLoadOptions seeing;
  seeing.device = options.device;
  seeing.dtype = options.dtype;
  // Beside a decoder that is streamed there is no room to waste.
  seeing.streamed = vlm.decoder.access != nullptr;
  if (whole_tower) seeing.layers = config.vision.num_hidden_layers;
  std::shared_ptr<const Checkpoint> tower;
  if (llava_part(*checkpoint, LlavaPart::kTower)->tensors().empty()) {
    tower = tower_beside(folder);
    vlm.tower_files = tower->files();
  }
  vlm.eyes = load_vision_part(std::move(checkpoint), config, seeing, std::move(tower));
  return vlm;
}

bool sees_both_ways(const VlmConfig& config) { return config.connector.kind == ConnectorKind::kPooled; }

namespace {

/// Places of the tokens of each item in the flattened prompt, in order.
std::vector<std::vector<int64_t>> places_of(const MediaPrompt& prompt, size_t items) {
  std::vector<std::vector<int64_t>> places(items);
  for (size_t i = 0; i < prompt.item_of.size(); ++i) {
    if (prompt.item_of[i] >= 0)
      places.at(static_cast<size_t>(prompt.item_of[i])).push_back(static_cast<int64_t>(i));
  }
  return places;
}

/// A number for each picture of a prompt, each of a picture's blocks being one: crops do not see each other.
at::Tensor groups_of(const MediaPrompt& prompt) {
  const int64_t batch = prompt.input_ids.size(0), tokens = prompt.input_ids.size(1);
  at::Tensor groups = at::empty({batch, tokens}, at::kInt);
  auto* group = groups.mutable_data_ptr<int32_t>();
  int32_t number = -1;
  for (int64_t b = 0; b < batch; ++b) {
    bool inside = false;
    for (int64_t t = 0; t < tokens; ++t, ++group) {
      const int64_t item = prompt.item_of[static_cast<size_t>(b * tokens + t)];
      if (item >= 0 && !inside) ++number;
      inside = item >= 0;
      *group = inside ? number : -1;
    }
  }
  return groups;
}

void give_geometry(const VlmConfig& config, const MediaPlan& plan, VisionInputs& input) {
  switch (config.pictures) {
    case PictureTokens::kPatches:
      input.grids.push_back({plan.grid_thw[0], plan.grid_thw[1], plan.grid_thw[2]});
      break;
    case PictureTokens::kTiles:
      input.tiles.push_back(plan.tiles);
      break;
    case PictureTokens::kAnyres:
      input.anyres.push_back(plan.anyres);
      break;
  }
}

}  // namespace

SeenMedia see(const Vlm& vlm, const std::vector<MediaItem>& items, const VisionTaps& image_taps,
              const VisionTaps& video_taps) {
  SeenMedia seen;
  seen.features.resize(items.size());
  for (const MediaKind kind : {MediaKind::kImage, MediaKind::kVideo}) {
    VisionInputs input;
    std::vector<at::Tensor> pixels;
    std::vector<size_t> order;
    for (size_t i = 0; i < items.size(); ++i) {
      if (items[i].plan.kind != kind) continue;
      order.push_back(i);
      pixels.push_back(items[i].pixel_values);
      give_geometry(vlm.config, items[i].plan, input);
    }
    if (order.empty()) continue;
    input.pixel_values = pixels.size() == 1 ? pixels[0] : at::cat(pixels, 0);
    const VisionFeatures made = encode(vlm.eyes, input, kind == MediaKind::kVideo ? video_taps : image_taps);
    if (seen.deepstack.empty() && !made.deepstack.empty()) {
      seen.deepstack.assign(made.deepstack.size(), std::vector<at::Tensor>(items.size()));
    }
    int64_t first = 0;
    for (size_t k = 0; k < order.size(); ++k) {
      const size_t i = order[k];
      const int64_t tokens = items[i].plan.tokens();
      if (k >= made.lengths.size() || made.lengths[k] != tokens) {
        throw InternalError("see: item {} has {} tokens, its features {}", i, tokens,
                            k < made.lengths.size() ? made.lengths[k] : 0);
      }
      seen.features[i] = made.features.narrow(0, first, tokens);
      for (size_t level = 0; level < made.deepstack.size(); ++level) {
        seen.deepstack[level][i] = made.deepstack[level].narrow(0, first, tokens);
      }
      first += tokens;
    }
  }
  return seen;
}

void MediaEmbeddings::give(ForwardInput& input) const {
  input.inputs_embeds = inputs_embeds;
  input.added = added;
  input.groups = groups;
}

void MediaEmbeddings::give(GenerateInput& input) const {
  input.inputs_embeds = inputs_embeds;
  input.added = added;
  input.groups = groups;
}

MediaEmbeddings embed(const Vlm& vlm, const MediaPrompt& prompt, const SeenMedia& seen) {
  const at::Tensor& table = vlm.decoder.weights.embed_tokens;
  const int64_t batch = prompt.input_ids.size(0), tokens = prompt.input_ids.size(1);
  // Text first, all at once; placeholder tokens are then replaced.
  at::Tensor text_ids = prompt.input_ids.reshape({-1}).contiguous().clone();
  auto* ids = text_ids.mutable_data_ptr<int64_t>();
  std::vector<int64_t> padding;
  for (size_t i = 0; i < prompt.item_of.size(); ++i) {
    if (prompt.item_of[i] != MediaPrompt::kText) ids[i] = 0;
    if (prompt.item_of[i] == MediaPrompt::kPadding) padding.push_back(static_cast<int64_t>(i));
  }
  at::Tensor text;
  {
    const HeldWeights held(vlm.decoder.access, table);
    text = embed_tokens(vlm.decoder, text_ids.to(table.device()));
  }
  const auto places = places_of(prompt, seen.features.size());
  std::vector<at::Tensor> features;
  std::vector<int64_t> index;
  for (size_t item = 0; item < places.size(); ++item) {
    const auto found = static_cast<int64_t>(places[item].size());
    if (found == 0) continue;  // (of a prompt's beginning)
    if (seen.features[item].size(0) < found) {
      throw InternalError("embed: item {} has {} tokens, its places {}", item, seen.features[item].size(0),
                          found);
    }
    features.push_back(seen.features[item].narrow(0, 0, found));
    index.insert(index.end(), places[item].begin(), places[item].end());
  }
  const at::Device device = table.device();
  MediaEmbeddings made;
  if (!padding.empty()) {
    text = text.index_fill(0, at::tensor(padding, at::kLong).to(device), 0.0);
  }
  if (features.empty()) {
    made.inputs_embeds = text.view({batch, tokens, -1});
  } else {
    const at::Tensor where = at::tensor(index, at::kLong).to(device);
    const at::Tensor shown = features.size() == 1 ? features[0] : at::cat(features, 0);
    made.inputs_embeds = text.index_copy(0, where, shown.to(text.scalar_type())).view({batch, tokens, -1});
    for (size_t level = 0; level < seen.deepstack.size(); ++level) {
      std::vector<at::Tensor> deep;
      for (size_t item = 0; item < places.size(); ++item) {
        const auto found = static_cast<int64_t>(places[item].size());
        if (found > 0) deep.push_back(seen.deepstack[level][item].narrow(0, 0, found));
      }
      made.added.push_back(
          {static_cast<int64_t>(level), where, deep.size() == 1 ? deep[0] : at::cat(deep, 0)});
    }
  }
  if (sees_both_ways(vlm.config) && !features.empty()) made.groups = groups_of(prompt);
  return made;
}

MediaEmbeddings in_rows(const std::vector<MediaEmbeddings>& rows) {
  MediaEmbeddings all;
  std::vector<at::Tensor> embeds, groups;
  int64_t first = 0;
  for (const MediaEmbeddings& row : rows) {
    embeds.push_back(row.inputs_embeds);
    if (row.groups.defined()) groups.push_back(row.groups);
    for (const AddedFeatures& added : row.added) {
      all.added.push_back({added.layer, added.token_index.add(first), added.features});
    }
    first += row.inputs_embeds.size(0) * row.inputs_embeds.size(1);
  }
  all.inputs_embeds = at::cat(embeds);
  if (!groups.empty() && groups.size() != rows.size()) {
    throw InternalError("in_rows: expected pictures in every row or in none");
  }
  if (!groups.empty()) all.groups = at::cat(groups);
  return all;
}

at::Tensor own_position_ids(const DecoderConfig& config, const MediaPrompt& prompt) {
  if (!config.rope_axes) return {};
  const Scheme scheme(config.native_scheme());
  const int64_t batch = prompt.input_ids.size(0), tokens = prompt.input_ids.size(1);
  at::Tensor ids = at::zeros({scheme.axes(), batch, tokens}, at::kDouble);
  const at::Tensor mask = prompt.attention_mask.defined()
                              ? prompt.attention_mask.to(at::kCPU, at::kLong).contiguous()
                              : at::Tensor();
  for (int64_t b = 0; b < batch; ++b) {
    const Layout& whole = prompt.layouts[static_cast<size_t>(b)];
    if (!mask.defined() || mask[b].ne(0).all().item<bool>()) {
      ids.select(1, b).copy_(scheme.positions(whole).coordinates);
      continue;
    }
    // Hidden tokens of text take no ids.
    const auto* seen = mask[b].const_data_ptr<int64_t>();
    Layout real;
    std::vector<int64_t> places;
    int64_t at = 0;
    for (const Segment& segment : whole.segments) {
      Segment kept = segment;
      if (segment.kind == Segment::Kind::kText) kept.text = 0;
      for (int64_t i = 0; i < segment.tokens(); ++i, ++at) {
        if (segment.kind == Segment::Kind::kText && seen[at] == 0) continue;
        places.push_back(at);
        if (segment.kind == Segment::Kind::kText) ++kept.text;
      }
      if (kept.tokens() > 0) real.segments.push_back(kept);
    }
    ids.select(1, b).index_copy_(1, at::tensor(places, at::kLong), scheme.positions(real).coordinates);
  }
  return ids;
}

}  // namespace ropescope
