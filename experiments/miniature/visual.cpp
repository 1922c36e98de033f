#include "visual.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <numeric>

#include <boost/random/uniform_int_distribution.hpp>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include "ropescope/core/log.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/train/llava_model.h"
#include "ropescope/train/trainer.h"
#include "ropescope/train/vocabulary_loss.h"

#include "model.h"
#include "quick_decoder.h"
#include "words.h"

namespace ropescope::miniature {

namespace {

constexpr double kWarmup = 0.05, kVisualClip = 1.0, kFloor = 0.1;

/// What rows of one shape share: positions, and which tokens are what.
class Room {
 public:
  Room(const Llava& llava, const Scheme& scheme, const Shape& shape, Order order, int64_t questions) {
    const View view = view_of(shape, order);
    const std::vector<int64_t> cells = cells_of_tokens(shape);
    const auto image = static_cast<int64_t>(view.sources.size());
    std::vector<int64_t> newlines, inside, cells_inside;
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
    std::vector<int64_t> places;
    for (int64_t q = 0; q < questions; ++q) places.push_back(1 + image + 2 * q);
    asked = at::tensor(places, at::kLong);
    tokens = 1 + image + 2 * questions;
    Layout layout;
    layout.segments.resize(3);
    layout.segments[0].text = 1;
    layout.segments[1] = view.block;
    layout.segments[2].text = 2 * questions;
    encoding = SequenceEncoding(scheme, layout, encoded_model(llava.decoder.config)).pass(0, tokens);
    if (is_quick(llava.decoder, encoding)) {
      std::vector<int64_t> both = inside;
      both.insert(both.end(), places.begin(), places.end());
      quick = std::make_unique<QuickPass>(llava.decoder, encoding, tokens, std::move(both));
      quick_answers = std::make_unique<QuickPass>(llava.decoder, encoding, tokens, std::move(places));
    }
  }

  at::Tensor newline;          // bool [1, image tokens, 1]
  at::Tensor in_cells;         // tokens that may know something of one cell from the grid before them [n]
  at::Tensor cell_of;          // their cells [n]
  at::Tensor asked;            // tokens that ask, [questions]
  bool colours_wanted = true;  // of in_cells: the cell's colour, else its glyph
  int64_t tokens = 0;
  PassEncoding encoding;
  // Where quick_decoder.h knows the encoding: for in_cells and then asked, for asked alone.
  std::unique_ptr<QuickPass> quick, quick_answers;
};

struct Batch {
  at::Tensor features;  // [B, image tokens, tower channels]
  at::Tensor dialogue;  // int64 [B, 2 * questions]
  at::Tensor answers;   // int64 [B, questions]
  at::Tensor colours;   // int64 [B, kCells]
  at::Tensor glyphs;    // int64 [B, kCells]

  /// What a room's in_cells are asked for, [B, n], counted from the first word of its kind.
  at::Tensor wanted(const Room& room) const {
    return (room.colours_wanted ? colours : glyphs).index_select(1, room.cell_of);
  }
};

Batch make_batch(const Group& group, const at::Tensor& chosen, int64_t questions, Rng& rng) {
  Batch batch;
  batch.features = group.features.index_select(0, chosen);
  batch.colours = group.colours.index_select(0, chosen);
  batch.glyphs = group.glyphs.index_select(0, chosen);
  const Shape no_shape;
  std::vector<int64_t> cells;
  for (int64_t row = 0; row < chosen.numel(); ++row) {
    const Picture order = random_picture(no_shape, rng);  // for its permutation
    cells.insert(cells.end(), order.colours.begin(), order.colours.begin() + questions);
  }
  const at::Tensor cell = at::tensor(cells, at::kLong).view({-1, questions});
  const at::Tensor words = batch.colours.gather(1, cell) + kFirstColourId;
  batch.answers = batch.glyphs.gather(1, cell) + kFirstGlyphId;
  batch.dialogue = at::cat({words.unsqueeze(2), batch.answers.unsqueeze(2)}, 2).view({-1, 2 * questions});
  return batch;
}

/// What goes into the decoder, [B, T, C].
at::Tensor embed(const Llava& llava, const Room& room, const Batch& batch) {
  const at::Tensor& table = llava.decoder.weights.embed_tokens;
  const int64_t rows = batch.features.size(0);
  const at::Tensor picture = at::where(room.newline, llava.image_newline, project(llava, batch.features));
  const at::Tensor start = at::embedding(table, at::full({rows, 1}, kStartId, at::kLong));
  return at::cat({start, picture, at::embedding(table, batch.dialogue)}, 1);
}

/// After the last norm, of the tokens in_cells and of those that ask: [B, n, C] each.
struct Hidden {
  at::Tensor in_cells, asked;
};

Hidden hidden_of_pictures(const Llava& llava, const Room& room, const Batch& batch) {
  const at::Tensor embeddings = embed(llava, room, batch);
  if (room.quick != nullptr && !at::GradMode::is_enabled()) {
    const at::Tensor hidden = room.quick->hidden(embeddings);
    const int64_t inside = room.in_cells.numel();
    return {hidden.narrow(1, 0, inside), hidden.narrow(1, inside, hidden.size(1) - inside)};
  }
  ForwardInput input;
  input.inputs_embeds = embeddings;
  input.encoding = &room.encoding;
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kNone;
  const at::Tensor hidden = forward(llava.decoder, input, options).final_hidden;
  return {hidden.index_select(1, room.in_cells), hidden.index_select(1, room.asked)};
}

/// The loss that is minimised, times `scale`, and the answers' part of it.
struct PictureLoss {
  at::Tensor loss;
  double answers = 0;
};

PictureLoss loss_of_pictures(const Llava& llava, const Room& room, const Batch& batch, double correspondence,
                             double scale) {
  const at::Tensor cells = batch.wanted(room) + (room.colours_wanted ? kFirstColourId : kFirstGlyphId);
  const double answer = scale / static_cast<double>(batch.answers.numel()),
               cell = scale * correspondence / static_cast<double>(cells.numel());
  PictureLoss result;
  if (room.quick != nullptr) {
    const bool with_cells = correspondence > 0;
    const int64_t inside = with_cells ? room.in_cells.numel() : 0;
    const at::Tensor targets = with_cells ? at::cat({cells, batch.answers}, 1) : batch.answers;
    std::vector<float> weights(static_cast<size_t>(targets.size(1)), static_cast<float>(answer));
    std::fill_n(weights.begin(), inside, static_cast<float>(cell));
    const QuickLoss quick =
        (with_cells ? room.quick : room.quick_answers)->loss(embed(llava, room, batch), targets, weights);
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

/// Rooms are made when first entered.
class Rooms {
 public:
  Rooms(const Llava& llava, const Scheme& scheme, Order order, int64_t questions)
      : llava_(llava), scheme_(scheme), order_(order), questions_(questions) {}
  const Room& of(const Shape& shape) {
    const auto found = rooms_.find(shape.name());
    if (found != rooms_.end()) return found->second;
    return rooms_.emplace(shape.name(), Room(llava_, scheme_, shape, order_, questions_)).first->second;
  }

 private:
  const Llava& llava_;
  const Scheme& scheme_;
  Order order_;
  int64_t questions_;
  std::map<std::string, Room> rooms_;
};

Measures measure_in(Rooms& rooms, const Llava& llava, const Album& album, int64_t pictures, int64_t questions,
                    uint64_t seed) {
  constexpr int64_t kAtOnce = 64;
  const at::NoGradGuard no_grad;
  const at::Tensor& head = llava.decoder.weights.lm_head;
  const auto shapes = static_cast<int64_t>(album.groups.size());
  Rng rng = make_rng(seed, {0x6d656173});
  Measures measures;
  const auto count = [](const at::Tensor& guess, const at::Tensor& truth, Score& score) {
    score.right += guess.eq(truth).sum().item<int64_t>();
    score.asked += truth.numel();
  };
  for (const Group& group : album.groups) {
    const Room& room = rooms.of(group.shape);
    const int64_t have = group.features.size(0);
    const int64_t wanted = pictures == 0 ? have : std::min(have, (pictures + shapes - 1) / shapes);
    for (int64_t first = 0; first < wanted; first += kAtOnce) {
      const at::Tensor chosen = at::arange(first, std::min(first + kAtOnce, wanted), at::kLong);
      const Batch batch = make_batch(group, chosen, questions, rng);
      const Hidden hidden = hidden_of_pictures(llava, room, batch);
      const at::Tensor answers = hidden.asked.matmul(head.t()).argmax(2);
      count(answers, batch.answers, measures.answers);
      const at::Tensor words = room.colours_wanted ? head.narrow(0, kFirstColourId, kColours)
                                                   : head.narrow(0, kFirstGlyphId, kGlyphs);
      count(hidden.in_cells.matmul(words.t()).argmax(2), batch.wanted(room), measures.correspondence);
    }
  }
  return measures;
}

/// Batches of one shape each, all pictures of an epoch in a random order.
class Deck {
 public:
  Deck(const Album& album, int64_t batch, uint64_t seed) : album_(album), batch_(batch), seed_(seed) {}

  struct Draw {
    const Group* group = nullptr;
    at::Tensor chosen;
  };
  Draw next() {
    if (draws_.empty()) shuffle();
    Draw draw = draws_.back();
    draws_.pop_back();
    return draw;
  }

 private:
  template <typename T>
  static void shuffle_list(std::vector<T>& list, Rng& rng) {
    for (size_t i = list.size(); i > 1; --i) {
      boost::random::uniform_int_distribution<size_t> place(0, i - 1);
      std::swap(list[i - 1], list[place(rng)]);
    }
  }

  void shuffle() {
    Rng rng = make_rng(seed_, {0x6465636b, static_cast<uint64_t>(epoch_++)});
    for (const Group& group : album_.groups) {
      std::vector<int64_t> order(static_cast<size_t>(group.features.size(0)));
      std::iota(order.begin(), order.end(), int64_t{0});
      shuffle_list(order, rng);
      const at::Tensor all = at::tensor(order, at::kLong);
      // What is left of an epoch is too small for a batch; the next epoch deals it again.
      const int64_t whole = std::max<int64_t>(all.numel() / batch_, 1);
      for (int64_t i = 0; i < whole; ++i) {
        const int64_t first = i * batch_;
        draws_.push_back({&group, all.narrow(0, first, std::min(batch_, all.numel() - first))});
      }
    }
    shuffle_list(draws_, rng);
  }

  const Album& album_;
  int64_t batch_;
  uint64_t seed_;
  int64_t epoch_ = 0;
  std::vector<Draw> draws_;
};

Trainer make_visual_trainer(Llava& llava, const VisualSettings& settings) {
  TrainerSettings trainer;
  trainer.clip_norm = kVisualClip;
  trainer.schedule = {ScheduleKind::kCosine, settings.steps, warmup_steps(settings.steps, kWarmup)};
  ParameterGroup group;
  group.learning_rate = settings.learning_rate;
  group.floor = kFloor * settings.learning_rate;
  return Trainer(AdamW(make_trainable(llava, {"*"}, {"model.vision_tower.*"}), {group}, AdamW::Settings{}),
                 trainer);
}

}  // namespace

Json to_json(const VisualSettings& settings) {
  return {{"scheme", settings.scheme},
          {"steps", settings.steps},
          {"batch", settings.batch},
          {"questions", settings.questions},
          {"learning_rate", settings.learning_rate},
          {"correspondence", settings.correspondence},
          {"measure_every", settings.measure_every},
          {"measure_pictures", settings.measure_pictures},
          {"seed", settings.seed}};
}

Measures measure(const Llava& llava, const Scheme& scheme, const Album& album, int64_t pictures,
                 int64_t questions, uint64_t seed) {
  Rooms rooms(llava, scheme, album.order, questions);
  return measure_in(rooms, llava, album, pictures, questions, seed);
}

VisualResult teach_pictures(Llava& llava, const Album& train, const Album& seen, const Album& unseen,
                            const VisualSettings& settings) {
  using Clock = std::chrono::steady_clock;
  const Scheme scheme(settings.scheme);
  Trainer trainer = make_visual_trainer(llava, settings);
  Rooms rooms(llava, scheme, train.order, settings.questions);
  Deck deck(train, settings.batch, settings.seed);
  Rng rng = make_rng(settings.seed, {0x61736b});
  VisualResult result;
  double loss_sum = 0;
  int64_t loss_count = 0;
  const auto look = [&](int64_t step, int64_t pictures) {
    CurvePoint point;
    point.step = step;
    point.loss = loss_count == 0 ? 0.0 : loss_sum / static_cast<double>(loss_count);
    point.seen = measure_in(rooms, llava, seen, pictures, settings.questions, settings.seed);
    point.unseen = measure_in(rooms, llava, unseen, pictures, settings.questions, settings.seed);
    log_info("{}: step {}, loss {:.4f}, correspondence {:.3f} / {:.3f}, answers {:.3f} / {:.3f}",
             settings.scheme, step, point.loss, point.seen.correspondence.share(),
             point.unseen.correspondence.share(), point.seen.answers.share(), point.unseen.answers.share());
    result.curve.push_back(point);
    loss_sum = 0;
    loss_count = 0;
  };
  look(0, settings.measure_pictures);
  Progress progress(settings.scheme, "steps", settings.steps);
  for (int64_t step = 1; step <= settings.steps; ++step) {
    const auto begin = Clock::now();
    const Deck::Draw draw = deck.next();
    const Room& room = rooms.of(draw.group->shape);
    const Batch batch = make_batch(*draw.group, draw.chosen, settings.questions, rng);
    Trainer::Micro micro;
    micro.targets = 1;  // the loss below is a sum of means already
    micro.names = {draw.group->shape.name()};
    micro.loss = [&](double scale) {
      const PictureLoss loss = loss_of_pictures(llava, room, batch, settings.correspondence, scale);
      loss_sum += loss.answers;
      loss_count += 1;
      return loss.loss;
    };
    trainer.step({micro});
    progress.advance();
    result.seconds += std::chrono::duration<double>(Clock::now() - begin).count();
    const bool last = step == settings.steps;
    if (last || step % settings.measure_every == 0) look(step, last ? 0 : settings.measure_pictures);
  }
  return result;
}

}  // namespace ropescope::miniature
