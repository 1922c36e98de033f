#include "rooms.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/train/vocabulary_loss.h"

#include "model.h"
#include "words.h"

namespace ropescope::miniature {

namespace {

Scheme scheme_of(const RoomSettings& settings) {
  return Scheme(with_map(settings.scheme, settings.map, settings.seed));
}

std::unique_ptr<CompressedPass> compressed_pass(const Llava& llava, const Room& room,
                                                const RoomSettings& settings, const Shape& shape,
                                                const View& view) {
  if (settings.library || !view.thumbnail_first || !is_quick(llava.decoder, room.encoding)) {
    throw UsageError(
        "--compress: expected the order llava-next or native, a scheme that only rotates, channels in multiples of 16, "
        "and no --library; found {} in the order {}",
        settings.scheme, order_name(room.world.order));
  }
  const PictureSequence sequence = picture_sequence(shape, view, layout_of(view, 2 * settings.questions));
  return std::make_unique<CompressedPass>(llava.decoder, scheme_of(settings), sequence, settings.compression);
}

}  // namespace

std::string with_map(const std::string& scheme, const std::string& map, uint64_t seed) {
  parse_wrong_cells(map.empty() ? "none" : map, seed);
  if (map.empty()) return scheme;
  const std::string name = "id-align", rest = scheme.substr(std::min(scheme.size(), name.size()));
  if (scheme.rfind(name, 0) != 0 || !(rest.empty() || rest[0] == ':' || rest[0] == '+')) {
    throw UsageError("--map {}: expected a scheme that begins with id-align, found {}", map, scheme);
  }
  const std::string given = fmt::format("{}:wrong={},wrong_seed={}", name, map, seed);
  return rest.empty() || rest[0] == '+' ? given + rest : given + "," + rest.substr(1);
}

SequenceEncoding sequence_of(const Llava& llava, const RoomSettings& settings, const Shape& shape,
                             const World& world, int64_t distractor) {
  return {scheme_of(settings), layout_of(view_of(shape, world.order), distractor + 2 * settings.questions),
          encoded_model(llava.decoder.config)};
}

Room::Room(const Llava& llava, const RoomSettings& settings, const Shape& shape, const World& its_world,
           int64_t distractor)
    : world(its_world) {
  const View view = view_of(shape, world.order);
  const std::vector<int64_t> cells = cells_of_tokens(shape);
  const auto image = static_cast<int64_t>(view.sources.size());
  std::vector<int64_t> newlines, inside, cells_inside, places;
  for (const int64_t source : view.sources) newlines.push_back(source < 0 ? 1 : 0);
  colours_wanted = view.thumbnail_first;
  const auto want = [&](int64_t token, int64_t cell) {
    inside.push_back(1 + token);  // after <s>
    cells_inside.push_back(cell);
  };
  for (size_t i = 0; i < cells.size() && view.thumbnail_first; ++i) {
    if (cells[i] >= 0) want(view.high[i], cells[i]);
  }
  for (size_t cell = 0; cell < view.thumbnail.size() && !view.thumbnail_first; ++cell) {
    want(view.thumbnail[cell], static_cast<int64_t>(cell));
  }
  newline = at::tensor(newlines, at::kLong).ne(0).view({1, -1, 1});
  in_cells = at::tensor(inside, at::kLong);
  cell_of = at::tensor(cells_inside, at::kLong);
  for (int64_t q = 0; q < settings.questions; ++q) places.push_back(1 + image + distractor + 2 * q);
  asked = at::tensor(places, at::kLong);
  tokens = 1 + image + distractor + 2 * settings.questions;
  encoding = sequence_of(llava, settings, shape, world, distractor).pass(0, tokens);
  if (!settings.compression.none()) {
    compressed = compressed_pass(llava, *this, settings, shape, view);
  } else if (!settings.library && is_quick(llava.decoder, encoding)) {
    std::vector<int64_t> both = inside;
    both.insert(both.end(), places.begin(), places.end());
    quick = std::make_unique<QuickPass>(llava.decoder, encoding, tokens, std::move(both));
    quick_answers = std::make_unique<QuickPass>(llava.decoder, encoding, tokens, std::move(places));
  }
}

const Room& Rooms::of(const Shape& shape, int64_t distractor) {
  const std::pair<std::string, int64_t> key = {shape.name(), distractor};
  const auto found = rooms_.find(key);
  if (found != rooms_.end()) return found->second;
  return rooms_.emplace(key, Room(llava_, settings_, shape, world_, distractor)).first->second;
}

Rng rng_of_questions(uint64_t seed) { return make_rng(seed, {0x6d656173}); }

int64_t direction_of(int64_t cell, int64_t marker, int64_t side) {
  const int64_t right = marker % side - cell % side, down = marker / side - cell / side;
  if (std::abs(right) == std::abs(down)) return -1;
  if (std::abs(right) > std::abs(down)) return right < 0 ? 0 : 1;
  return down < 0 ? 2 : 3;
}

Batch make_batch(const World& world, const Group& group, const at::Tensor& chosen, int64_t questions,
                 Rng& rng) {
  Batch batch;
  batch.features = group.features.index_select(0, chosen);
  batch.colours = group.colours.index_select(0, chosen);
  batch.glyphs = group.glyphs.index_select(0, chosen);
  const bool relation = world.task == Task::kRelation;
  const Shape no_shape;
  std::vector<int64_t> cells, directions;
  for (int64_t row = 0; row < chosen.numel(); ++row) {
    const Picture order = random_picture(no_shape, rng, world);  // for its permutation
    const int64_t marker =
        relation ? batch.glyphs[row].eq(world.glyphs - 1).nonzero().flatten()[0].item<int64_t>() : -1;
    int64_t left = questions;
    for (size_t i = 0; i < order.colours.size() && left > 0; ++i) {
      const int64_t cell = order.colours[i];
      const int64_t direction = relation ? direction_of(cell, marker, world.side) : 0;
      if (direction < 0) continue;
      cells.push_back(cell);
      directions.push_back(direction);
      --left;
    }
    if (left > 0) {
      throw UsageError("--questions: expected at most {} of this picture, found {}", questions - left,
                       questions);
    }
  }
  const at::Tensor cell = at::tensor(cells, at::kLong).view({-1, questions});
  const at::Tensor words = batch.colours.gather(1, cell) + kFirstColourId;
  batch.answers = relation
                      ? at::tensor(directions, at::kLong).view({-1, questions}) + first_direction_id(world)
                      : batch.glyphs.gather(1, cell) + first_glyph_id(world);
  batch.dialogue = at::cat({words.unsqueeze(2), batch.answers.unsqueeze(2)}, 2).view({-1, 2 * questions});
  return batch;
}

at::Tensor embed_pictures(const Llava& llava, const Room& room, const Batch& batch) {
  const at::Tensor& table = llava.decoder.weights.embed_tokens;
  const int64_t rows = batch.features.size(0);
  const at::Tensor picture = at::where(room.newline, llava.image_newline, project(llava, batch.features));
  return at::cat({at::embedding(table, at::full({rows, 1}, kStartId, at::kLong)), picture}, 1);
}

at::Tensor embed_sequence(const Llava& llava, const Room& room, const Batch& batch) {
  const at::Tensor& table = llava.decoder.weights.embed_tokens;
  const at::Tensor words =
      batch.distractor.defined() ? at::cat({batch.distractor, batch.dialogue}, 1) : batch.dialogue;
  return at::cat({embed_pictures(llava, room, batch), at::embedding(table, words)}, 1);
}

Hidden hidden_of_pictures(const Llava& llava, const Room& room, const Batch& batch) {
  const at::Tensor embeddings = embed_sequence(llava, room, batch);
  if (room.compressed != nullptr) {
    const CompressedPass::Seen seen = room.compressed->hidden({embeddings, batch.features, batch.chance});
    const int64_t left = seen.cells.size(1);
    return {seen.hidden.narrow(1, 0, left), seen.hidden.narrow(1, left, seen.hidden.size(1) - left),
            seen.cells};
  }
  if (room.quick != nullptr && !at::GradMode::is_enabled()) {
    const at::Tensor hidden = room.quick->hidden(embeddings);
    const int64_t inside = room.in_cells.numel();
    return {hidden.narrow(1, 0, inside), hidden.narrow(1, inside, hidden.size(1) - inside), {}};
  }
  ForwardInput input;
  input.inputs_embeds = embeddings;
  input.encoding = &room.encoding;
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kNone;
  const at::Tensor hidden = forward(llava.decoder, input, options).final_hidden;
  return {hidden.index_select(1, room.in_cells), hidden.index_select(1, room.asked), {}};
}

PictureLoss loss_of_pictures(const Llava& llava, const Room& room, const Batch& batch, double correspondence,
                             double scale) {
  if (room.compressed != nullptr) {
    // Of a picture's cells, as many as have tokens left, the mean: so all pictures weigh the same.
    const auto pictures = static_cast<double>(batch.answers.size(0));
    const CompressedPass::Loss found = room.compressed->loss(
        {embed_sequence(llava, room, batch), batch.features, batch.chance},
        {batch.colours + kFirstColourId, batch.answers, scale / static_cast<double>(batch.answers.numel()),
         scale * correspondence / pictures});
    return {found.loss, found.answers};
  }
  const at::Tensor cells =
      batch.wanted(room) + (room.colours_wanted ? kFirstColourId : first_glyph_id(room.world));
  const double answer = scale / static_cast<double>(batch.answers.numel()),
               cell = scale * correspondence / static_cast<double>(cells.numel());
  PictureLoss result;
  if (room.quick != nullptr) {
    const bool with_cells = correspondence > 0;
    const int64_t inside = with_cells ? room.in_cells.numel() : 0;
    const at::Tensor targets = with_cells ? at::cat({cells, batch.answers}, 1) : batch.answers;
    std::vector<float> weights(static_cast<size_t>(targets.size(1)), static_cast<float>(answer));
    std::fill_n(weights.begin(), inside, static_cast<float>(cell));
    const QuickLoss quick = (with_cells ? room.quick : room.quick_answers)
                                ->loss(embed_sequence(llava, room, batch), targets, weights);
    for (size_t i = static_cast<size_t>(inside); i < quick.parts.size(); ++i)
      result.answers += answer * quick.parts[i];
    result.loss = quick.loss;
    return result;
  }
  const at::Tensor& head = llava.decoder.weights.lm_head;
  const Hidden hidden = hidden_of_pictures(llava, room, batch);
  result.loss = vocabulary_loss(hidden.asked.flatten(0, 1), head, batch.answers.flatten(), answer);
  result.answers = result.loss.item<double>();
  if (correspondence > 0) {
    result.loss = result.loss + vocabulary_loss(hidden.in_cells.flatten(0, 1), head, cells.flatten(), cell);
  }
  return result;
}

}  // namespace ropescope::miniature
