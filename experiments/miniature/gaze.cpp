#include "gaze.h"

#include <algorithm>
#include <cmath>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/figure_data.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/decoder.h"

#include "album.h"
#include "rooms.h"

namespace ropescope::miniature {

namespace {

constexpr int64_t kAtOnce = 16;  // pictures

/// Which tokens of a shape are which; 1 and 0 as float32.
struct Places {
  at::Tensor own;      ///< [looking, thumbnail tokens]: shows its cell
  at::Tensor ids;      ///< [looking, thumbnail tokens]: has its ids, and shows another cell
  at::Tensor same;     ///< [looking, thumbnail tokens]: has its ids
  at::Tensor to_cell;  ///< [thumbnail tokens, cells]: shows the cell, of whose tokens it is one
  at::Tensor of_cell;  ///< [cells, looking]
  at::Tensor keys;     ///< the thumbnail's tokens in the sequence
};

Places places_of(const Llava& llava, const RoomSettings& settings, const Room& room, const Shape& shape) {
  const World& world = room.world;
  const View view = view_of(shape, world.order);
  Places places;
  places.keys = at::tensor(view.thumbnail, at::kLong) + 1;  // after <s>
  const at::Tensor cell_of_key = at::tensor(cells_of_thumbnail(shape), at::kLong);
  const at::Tensor all = sequence_of(llava, settings, shape, world, 0).positions().coordinates;
  const at::Tensor looking = all.index_select(1, room.in_cells), looked_at = all.index_select(1, places.keys);
  const at::Tensor own = room.cell_of.unsqueeze(1).eq(cell_of_key.unsqueeze(0));
  const at::Tensor same = looking.unsqueeze(2).eq(looked_at.unsqueeze(1)).all(0);
  const at::Tensor misplaced = same.any(1).logical_and(same.logical_and(own).any(1).logical_not());
  places.own = own.to(at::kFloat);
  places.same = same.to(at::kFloat);
  places.ids = same.logical_and(misplaced.unsqueeze(1)).to(at::kFloat);
  places.to_cell = at::one_hot(cell_of_key, world.cells()).to(at::kFloat);
  places.of_cell = at::one_hot(room.cell_of, world.cells()).to(at::kFloat).t();
  return places;
}

/// Sums over tokens, from which the means are made in the end.
struct Sums {
  explicit Sums(int64_t layers, int64_t cells)
      : shares(at::zeros({4, layers}, at::kDouble)),
        map(at::zeros({cells, cells}, at::kDouble)),
        placed(at::zeros({cells, cells}, at::kDouble)),
        of_cell(at::zeros({cells}, at::kDouble)) {}

  at::Tensor shares;  ///< [thumbnail, own, misplaced own, misplaced ids; layers]
  at::Tensor map, placed, of_cell;
  int64_t tokens = 0, misplaced = 0;

  void add(const Places& places, int64_t pictures) {
    tokens += pictures * places.own.size(0);
    misplaced += pictures * places.ids.any(1).sum().item<int64_t>();
    of_cell += places.of_cell.sum(1) * static_cast<double>(pictures);
    placed += places.of_cell.matmul(places.same.matmul(places.to_cell).gt(0).to(at::kFloat)) *
              static_cast<double>(pictures);
  }
  /// rows [pictures, heads, looking, thumbnail tokens] of a layer.
  void add_rows(const Places& places, int64_t layer, int64_t layers, const at::Tensor& rows) {
    const at::Tensor mean = rows.mean(1);
    const at::Tensor misled = places.ids.any(1).to(at::kFloat).unsqueeze(1);
    const at::Tensor wanted[] = {mean, mean * places.own, mean * places.own * misled, mean * places.ids};
    for (int64_t kind = 0; kind < 4; ++kind) shares[kind][layer] += wanted[kind].sum(at::kDouble);
    map += places.of_cell.matmul(mean.sum(0)).matmul(places.to_cell).to(at::kDouble) /
           static_cast<double>(layers);
  }
};

Json json_of(const std::vector<double>& values) {
  Json list = Json::array();
  for (const double value : values) list.push_back(std::isfinite(value) ? Json(value) : Json());
  return list;
}

std::vector<double> numbers_from(const Json& json, const char* name, size_t count, const std::string& what) {
  const Json list = json.value(name, Json());
  std::vector<double> values;
  for (const Json& value : list) {
    if (!value.is_null() && !value.is_number()) break;
    values.push_back(value.is_null() ? std::nan("") : value.get<double>());
  }
  if (!list.is_array() || values.size() != list.size() || values.empty() ||
      (count > 0 && values.size() != count)) {
    throw InputError("{}: gaze: expected numbers as {}, found {}", what, name, list.dump().substr(0, 60));
  }
  return values;
}

}  // namespace

void check_gaze(const World& world, const Compression& compression) {
  if (world.order == Order::kInternvl || !compression.none()) {
    throw UsageError(
        "--gaze-pictures: expected a thumbnail that comes first and no --compress, found the order {}{}",
        order_name(world.order), compression.none() ? "" : ", compressed");
  }
}

Gaze measure_gaze(const Llava& llava, const RoomSettings& settings, const Album& album, int64_t pictures) {
  check_gaze(album.world, settings.compression);
  const at::NoGradGuard no_grad;
  const int64_t layers = llava.decoder.config.num_hidden_layers, cells = album.world.cells();
  Rooms rooms(llava, settings, album.world);
  Rng questions = rng_of_questions(settings.seed);
  Sums sums(layers, cells);
  for (const Group& group : album.groups) {
    const Room& room = rooms.of(group.shape);
    const Places places = places_of(llava, settings, room, group.shape);
    const auto* tokens = room.in_cells.const_data_ptr<int64_t>();
    const std::vector<int64_t> looking(tokens, tokens + room.in_cells.numel());
    const int64_t wanted = album.asked_of(group, pictures);
    for (int64_t first = 0; first < wanted; first += kAtOnce) {
      const at::Tensor chosen = at::arange(first, std::min(first + kAtOnce, wanted), at::kLong);
      const Batch batch = make_batch(album.world, group, chosen, settings.questions, questions);
      const at::Tensor embeddings = embed_sequence(llava, room, batch);
      sums.add(places, chosen.numel());
      Taps taps;
      taps.attention =
          AttentionRows{looking, [&](int64_t layer, const at::Tensor& rows) {
                          sums.add_rows(places, layer, layers, rows.index_select(3, places.keys));
                        }};
      ForwardInput input;
      input.inputs_embeds = embeddings;
      input.encoding = &room.encoding;
      ForwardOptions options;
      options.logits = ForwardOptions::Logits::kNone;
      forward(llava.decoder, input, options, taps);
    }
  }
  Gaze gaze;
  gaze.tokens = sums.tokens;
  gaze.misplaced = sums.misplaced;
  gaze.cells = cells;
  const auto tokens = static_cast<double>(sums.tokens), misplaced = static_cast<double>(sums.misplaced);
  gaze.thumbnail = to_vector(sums.shares[0] / tokens);
  gaze.own = to_vector(sums.shares[1] / tokens);
  gaze.misplaced_own = to_vector(sums.shares[2] / misplaced);  // none of none: NaN
  gaze.misplaced_ids = to_vector(sums.shares[3] / misplaced);
  gaze.map = to_vector(sums.map / sums.of_cell.unsqueeze(1));
  gaze.placed = to_vector(sums.placed / sums.of_cell.unsqueeze(1));
  return gaze;
}

Json to_json(const Gaze& gaze) {
  return {{"tokens", gaze.tokens},
          {"misplaced", gaze.misplaced},
          {"thumbnail", json_of(gaze.thumbnail)},
          {"own", json_of(gaze.own)},
          {"misplaced_own", json_of(gaze.misplaced_own)},
          {"misplaced_ids", json_of(gaze.misplaced_ids)},
          {"cells", gaze.cells},
          {"map", json_of(gaze.map)},
          {"placed", json_of(gaze.placed)}};
}

Gaze gaze_from(const Json& json, const std::string& what) {
  if (!json.is_object()) throw InputError("{}: gaze: expected an object", what);
  Gaze gaze;
  gaze.tokens = json_integer(json, "tokens", what);
  gaze.misplaced = json_integer(json, "misplaced", what);
  gaze.cells = json_integer(json, "cells", what);
  if (gaze.cells < 1 || gaze.cells > 64) {
    throw InputError("{}: gaze: expected 1 to 64 cells, found {}", what, gaze.cells);
  }
  const auto all = static_cast<size_t>(gaze.cells * gaze.cells);
  gaze.thumbnail = numbers_from(json, "thumbnail", 0, what);
  const size_t layers = gaze.thumbnail.size();
  gaze.own = numbers_from(json, "own", layers, what);
  gaze.misplaced_own = numbers_from(json, "misplaced_own", layers, what);
  gaze.misplaced_ids = numbers_from(json, "misplaced_ids", layers, what);
  gaze.map = numbers_from(json, "map", all, what);
  gaze.placed = numbers_from(json, "placed", all, what);
  return gaze;
}

}  // namespace ropescope::miniature
