#include "lessons.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <vector>

#include <boost/random/uniform_int_distribution.hpp>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cdist.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/log.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/train/llava_model.h"
#include "ropescope/train/trainer.h"
#include "ropescope/train/vocabulary_loss.h"

#include "model.h"
#include "quick_decoder.h"
#include "words.h"

namespace ropescope::miniature {

namespace {

constexpr int64_t kNoWord = kIgnoredLabel;
constexpr int64_t kWarmupSteps = 25;
constexpr double kLessonClip = 1.0;

// Of the text lessons: pairs of the shortest, and losses at which they grow and end.
constexpr int64_t kFewestPairs = 2;
constexpr double kUnknown = 2.0, kNearlyKnown = 0.15, kKnown = 0.005;

/// Tiles and the word of each of their patches, kNoWord where they show parts of several cells.
struct Tiles {
  at::Tensor pixels;                // [M, 3, S, S]
  at::Tensor words;                 // int64 [M, cells]
  std::vector<int64_t> thumbnails;  // which of the M
};

/// Calls visit(patch, cell) for each high-resolution patch that lies in one cell.
template <typename Visit>
void for_each_inside(const Shape& shape, Order order, const Visit& visit) {
  const View view = view_of(shape, order);
  const std::vector<int64_t> cells = cells_of_tokens(shape);
  for (size_t i = 0; i < cells.size(); ++i) {
    if (cells[i] >= 0) visit(view.sources[static_cast<size_t>(view.high[i])], cells[i]);
  }
}

/// Words of all patches of a group's pictures, [N, patches]; patches beyond the thumbnail's and the tiles' have none.
at::Tensor patch_words(const Group& group, const World& world) {
  const bool native = world.order == Order::kNative;
  const int64_t pictures = group.tiles.size(0), patches = group.tiles.size(1) * (native ? 1 : world.cells());
  at::Tensor words = at::full({pictures, patches}, kNoWord, at::kLong);
  const at::Tensor cells = at::tensor(cells_of_thumbnail(group.shape), at::kLong);
  words.narrow(1, 0, cells.numel()).copy_(group.colours.index_select(1, cells) + kFirstColourId);
  for_each_inside(group.shape, world.order, [&](int64_t patch, int64_t cell) {
    words.select(1, patch).copy_(group.glyphs.select(1, cell) + first_glyph_id(world));
  });
  return words;
}

Tiles all_tiles(const Album& album) {
  std::vector<at::Tensor> pixels, words;
  std::vector<int64_t> thumbnails;
  int64_t count = 0;
  for (const Group& group : album.groups) {
    for (int64_t i = 0; i < group.tiles.size(0); ++i, count += group.tiles.size(1))
      thumbnails.push_back(count);
    pixels.push_back(group.tiles.flatten(0, 1));
    words.push_back(patch_words(group, album.world).view({-1, album.world.cells()}));
  }
  return {at::cat(pixels), at::cat(words), thumbnails};
}

int64_t random_index(size_t below, Rng& rng) {
  return boost::random::uniform_int_distribution<int64_t>(0, static_cast<int64_t>(below) - 1)(rng);
}

at::Tensor random_indices(int64_t count, int64_t below, Rng& rng) {
  boost::random::uniform_int_distribution<int64_t> index(0, below - 1);
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < count; ++i) indices.push_back(index(rng));
  return at::tensor(indices, at::kLong);
}

/// Among the tiles of finer pictures few are thumbnails, too few to learn colours from, and so are their patches among those of a
/// whole picture: a fifth of them are then, or count as so many, as it is of plain pictures by themselves.
constexpr int64_t kTilesAThumbnail = 5;

at::Tensor random_tiles(const Tiles& tiles, int64_t count, const World& world, Rng& rng) {
  at::Tensor chosen = random_indices(count, tiles.pixels.size(0), rng);
  if (world.finer == 1) return chosen;
  auto* indices = chosen.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < count / kTilesAThumbnail; ++i) {
    indices[i] = tiles.thumbnails[static_cast<size_t>(random_index(tiles.thumbnails.size(), rng))];
  }
  return chosen;
}

Trainer make_lesson_trainer(std::vector<Parameter> parameters, const LessonSettings& settings,
                            ScheduleKind kind) {
  TrainerSettings trainer;
  trainer.clip_norm = kLessonClip;
  trainer.schedule = {kind, settings.steps, kWarmupSteps};
  ParameterGroup group;
  group.learning_rate = settings.learning_rate;
  return Trainer(AdamW(std::move(parameters), {group}, AdamW::Settings{}), trainer);
}

/// Share of rows whose nearest word, of `words` words from `first` on, is the right one.
double share_right(const at::Tensor& embeddings, const at::Tensor& words, const at::Tensor& table,
                   int64_t first, int64_t count) {
  const at::Tensor nearest = at::cdist(embeddings, table.narrow(0, first, count)).argmin(1) + first;
  return nearest.eq(words).to(at::kDouble).mean().item<double>();
}

/// Share of labels that a linear reader of `features` [N, C] finds; it is fitted to one half and asked about
/// the other.
double linear_reader(const at::Tensor& features, const at::Tensor& labels, int64_t classes) {
  const int64_t half = features.size(0) / 2;
  const at::Tensor x = at::cat({features, at::ones({features.size(0), 1})}, 1).to(at::kDouble);
  const at::Tensor fit = x.narrow(0, 0, half),
                   y = at::one_hot(labels.narrow(0, 0, half), classes).to(at::kDouble);
  const at::Tensor ridge = at::eye(x.size(1), at::kDouble) * 1e-3 * static_cast<double>(half);
  const at::Tensor weights = at::linalg_solve(fit.t().mm(fit) + ridge, fit.t().mm(y));
  const int64_t rest = features.size(0) - half;
  const at::Tensor guess = x.narrow(0, half, rest).mm(weights).argmax(1);
  return guess.eq(labels.narrow(0, half, rest)).to(at::kDouble).mean().item<double>();
}

TowerReport examine_tower(const Llava& llava, const Album& album) {
  const at::NoGradGuard no_grad;
  std::array<std::vector<at::Tensor>, 2> features, colours, glyphs;  // of thumbnails, of tiles
  for (const Group& group : album.groups) {
    const at::Tensor patches = see(llava, group, at::arange(group.tiles.size(0), at::kLong));
    const auto keep = [&](size_t kind, int64_t patch, int64_t cell) {
      features[kind].push_back(patches.select(1, patch));
      colours[kind].push_back(group.colours.select(1, cell));
      glyphs[kind].push_back(group.glyphs.select(1, cell));
    };
    const std::vector<int64_t> cells = cells_of_thumbnail(group.shape);
    for (size_t patch = 0; patch < cells.size(); ++patch) keep(0, static_cast<int64_t>(patch), cells[patch]);
    for_each_inside(group.shape, album.world.order,
                    [&](int64_t patch, int64_t cell) { keep(1, patch, cell); });
  }
  const at::Tensor& table = llava.decoder.weights.embed_tokens;
  const at::Tensor thumbnail = at::cat(features[0]), tile = at::cat(features[1]);
  const int64_t shades = album.world.colours(), patterns = album.world.glyphs;
  TowerReport report;
  report.colour = share_right(project(llava, thumbnail), at::cat(colours[0]) + kFirstColourId, table,
                              kFirstColourId, shades + patterns);
  report.glyph = share_right(project(llava, tile), at::cat(glyphs[1]) + first_glyph_id(album.world), table,
                             kFirstColourId, shades + patterns);
  report.glyph_in_thumbnail = linear_reader(thumbnail, at::cat(glyphs[0]), patterns);
  report.colour_in_tile = linear_reader(tile, at::cat(colours[1]), shades);
  return report;
}

/// "colour glyph" for all colours in some order, then questions with their answers.
struct TextLesson {
  at::Tensor ids;      // int64 [B, T]
  at::Tensor targets;  // int64 [B, T]: the answer where a colour asks, the colour where a glyph is shown
};

TextLesson text_lesson(const World& world, int64_t rows, int64_t pairs, Rng& rng) {
  constexpr int64_t kQuestions = 12;
  const Shape no_shape;
  boost::random::uniform_int_distribution<size_t> any_pair(0, static_cast<size_t>(pairs - 1));
  std::vector<int64_t> ids, targets;
  for (int64_t row = 0; row < rows; ++row) {
    const Picture shown = random_picture(no_shape, rng, world);
    const auto add = [&](int64_t id, int64_t target) {
      ids.push_back(id);
      targets.push_back(target);
    };
    add(kStartId, kNoWord);
    for (size_t i = 0; i < static_cast<size_t>(pairs); ++i) {
      add(kFirstColourId + shown.colours[i], kNoWord);
      // Which colour was named before: without this some seeds never find out how to look back.
      add(first_glyph_id(world) + shown.glyphs[i], kFirstColourId + shown.colours[i]);
    }
    for (int64_t q = 0; q < kQuestions; ++q) {
      const size_t i = any_pair(rng);
      add(kFirstColourId + shown.colours[i], first_glyph_id(world) + shown.glyphs[i]);
      add(first_glyph_id(world) + shown.glyphs[i], kNoWord);
    }
  }
  return {at::tensor(ids, at::kLong).view({rows, -1}), at::tensor(targets, at::kLong).view({rows, -1})};
}

at::Tensor hidden_of_text(const Llava& llava, const at::Tensor& ids) {
  const RotaryTable rotary = plain_rotary_table(llava.decoder.config, ids.size(1));
  ForwardInput input;
  input.input_ids = ids;
  input.rotary = &rotary;
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kNone;
  return forward(llava.decoder, input, options).final_hidden.flatten(0, 1);
}

/// Texts of one length: where they have targets is the same for all.
class TextRoom {
 public:
  TextRoom(const Llava& llava, const at::Tensor& targets)
      : llava_(llava), encoding_(plain_encoding(llava.decoder.config, targets.size(1))) {
    const at::Tensor places = targets[0].ne(kNoWord).nonzero().flatten();
    wanted_.assign(places.const_data_ptr<int64_t>(), places.const_data_ptr<int64_t>() + places.numel());
    if (is_quick(llava.decoder, encoding_)) {
      pass_ = std::make_unique<QuickPass>(llava.decoder, encoding_, targets.size(1), wanted_);
    }
  }

  at::Tensor loss(const TextLesson& lesson, double scale) {
    const at::Tensor& head = llava_.decoder.weights.lm_head;
    if (pass_ == nullptr)
      return vocabulary_loss(hidden_of_text(llava_, lesson.ids), head, lesson.targets.flatten(), scale);
    const at::Tensor embeddings = at::embedding(llava_.decoder.weights.embed_tokens, lesson.ids);
    return pass_
        ->loss(embeddings, lesson.targets.index_select(1, at::tensor(wanted_, at::kLong)),
               std::vector<float>(wanted_.size(), static_cast<float>(scale)))
        .loss;
  }

 private:
  const Llava& llava_;
  PassEncoding encoding_;
  std::vector<int64_t> wanted_;
  std::unique_ptr<QuickPass> pass_;
};

}  // namespace

TowerReport teach_tower(Llava& llava, const Album& pictures, const Album& others,
                        const LessonSettings& settings) {
  const bool native = pictures.world.order == Order::kNative;
  const Tiles tiles = native ? Tiles{} : all_tiles(pictures);
  std::vector<at::Tensor> words_of_group;
  for (size_t i = 0; native && i < pictures.groups.size(); ++i) {
    words_of_group.push_back(patch_words(pictures.groups[i], pictures.world));
  }
  Trainer trainer = make_lesson_trainer(
      make_trainable(llava, {"model.vision_tower.*", "model.multi_modal_projector.*"}, {}), settings,
      ScheduleKind::kCosine);
  Rng rng = make_rng(settings.seed, {0x746f776572});
  Progress progress("tower", "steps", settings.steps);
  for (int64_t step = 0; step < settings.steps; ++step) {
    // Pictures of one size go through a native tower together: so many that there are about as many patches as in tiles.
    const size_t place = native ? static_cast<size_t>(random_index(pictures.groups.size(), rng)) : 0;
    const Group& group = pictures.groups[place];
    const at::Tensor chosen =
        native ? random_indices(std::max<int64_t>(settings.batch / 4, 1), group.tiles.size(0), rng)
               : random_tiles(tiles, settings.batch, pictures.world, rng);
    const at::Tensor words = (native ? words_of_group[place] : tiles.words).index_select(0, chosen).flatten();
    const at::Tensor known = words.ne(kNoWord).nonzero().flatten();
    Trainer::Micro micro;
    micro.targets = 1;
    micro.names = {"tiles"};
    micro.loss = [&](double scale) {
      const at::Tensor seen = native ? see(llava, group, chosen)
                                     : visual_features(llava.tower, tiles.pixels.index_select(0, chosen),
                                                       llava.config.feature_layers);
      const at::Tensor shown = project(llava, seen.flatten(0, 1).index_select(0, known));
      const at::Tensor wanted =
          at::embedding(llava.decoder.weights.embed_tokens, words.index_select(0, known));
      const at::Tensor distance = (shown - wanted).square();
      if (!native || pictures.world.finer == 1) return distance.mean() * scale;
      const at::Tensor colours = words.index_select(0, known).lt(first_glyph_id(pictures.world));
      const auto part = [&](const at::Tensor& rows) {
        return distance.index_select(0, rows.nonzero().flatten()).mean();
      };
      constexpr double kShare = 1.0 / kTilesAThumbnail;
      return (part(colours) * kShare + part(colours.logical_not()) * (1.0 - kShare)) * scale;
    };
    const StepReport report = trainer.step({micro});
    progress.advance();
    if (report.step % 100 == 0) log_info("tower: step {}, squared distance {:.4f}", report.step, report.loss);
  }
  return examine_tower(llava, others);
}

double teach_text(Llava& llava, const World& world, const LessonSettings& settings) {
  const int64_t all_pairs = world.cells();
  Trainer trainer = make_lesson_trainer(
      make_trainable(llava, {"model.language_model.layers.*", "model.language_model.norm*", "lm_head*"}, {}),
      settings, ScheduleKind::kConstant);
  Rng rng = make_rng(settings.seed, {0x74657874});
  // Few pairs first, more once these are known: what to look for is found sooner among four than among
  // sixteen.
  int64_t most = kFewestPairs + 2;
  std::map<int64_t, std::unique_ptr<TextRoom>> rooms;
  double recent = kUnknown;  // the loss of late, since there were so many pairs
  for (int64_t step = 0; step < settings.steps && (most < all_pairs || recent > kKnown); ++step) {
    boost::random::uniform_int_distribution<int64_t> pairs(kFewestPairs, most);
    const TextLesson lesson = text_lesson(world, settings.batch, pairs(rng), rng);
    std::unique_ptr<TextRoom>& room = rooms[lesson.targets.size(1)];
    if (room == nullptr) room = std::make_unique<TextRoom>(llava, lesson.targets);
    Trainer::Micro micro;
    micro.targets = lesson.targets.ne(kNoWord).sum().item<int64_t>();
    micro.names = {"pairs"};
    micro.loss = [&](double scale) { return room->loss(lesson, scale); };
    const StepReport report = trainer.step({micro});
    recent += 0.1 * (report.loss - recent);
    if (report.step % 50 == 0) {
      log_info("text: step {}, up to {} pairs, loss {:.4f}", report.step, most, recent);
    }
    if (most < all_pairs && recent < kNearlyKnown) {
      most = std::min(most + 2, all_pairs);
      recent = kUnknown;
    }
  }
  const at::NoGradGuard no_grad;
  const TextLesson lesson = text_lesson(world, 8 * settings.batch, all_pairs, rng);
  const at::Tensor asked = lesson.targets.flatten().ge(first_glyph_id(world)).nonzero().flatten();
  const at::Tensor logits =
      hidden_of_text(llava, lesson.ids).index_select(0, asked).mm(llava.decoder.weights.lm_head.t());
  return logits.argmax(1)
      .eq(lesson.targets.flatten().index_select(0, asked))
      .to(at::kDouble)
      .mean()
      .item<double>();
}

}  // namespace ropescope::miniature
