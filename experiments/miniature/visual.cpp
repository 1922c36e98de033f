#include "visual.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include <boost/random/uniform_int_distribution.hpp>
#include <fmt/format.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include "ropescope/core/log.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/train/llava_model.h"
#include "ropescope/train/trainer.h"

#include "distractors.h"
#include "rooms.h"
#include "words.h"

namespace ropescope::miniature {

namespace {

constexpr double kWarmup = 0.05, kVisualClip = 1.0, kFloor = 0.1;
constexpr int64_t kWarmupBase = 400;  // steps whose share is the warm-up where there is no end to anneal to
constexpr double kAllRight = 0.99;    // of every measure: a run that is there has nothing more to learn

RoomSettings room_settings(const VisualSettings& settings) {
  return {settings.scheme, settings.map,     settings.questions,
          settings.seed,   settings.library, parse_compression(settings.compress, settings.merged_id)};
}

bool all_right(const CurvePoint& point) {
  for (const Measures* measures : {&point.seen, &point.unseen}) {
    if (measures->answers.share() < kAllRight) return false;
    if (measures->correspondence.asked > 0 && measures->correspondence.share() < kAllRight) return false;
  }
  return true;
}

/// A cell's label for each token that lies in it, -1 for tokens of no cell.
at::Tensor wanted_of_cells(const at::Tensor& cells, const at::Tensor& labels) {
  return at::where(cells.ge(0), labels.gather(1, cells.clamp_min(0)), -1);
}

void count_left(const CompressedPass& pass, const at::Tensor& cells, Measures& measures) {
  const PictureSequence& sequence = pass.sequence();
  const int64_t all = sequence.thumbnail_cells;
  measures.tokens_left.right += cells.numel();
  measures.tokens_left.asked += cells.size(0) * static_cast<int64_t>(sequence.high.size());
  measures.cells_left.right +=
      at::one_hot(cells + 1, all + 1).amax(1).narrow(1, 1, all).sum().item<int64_t>();
  measures.cells_left.asked += cells.size(0) * all;
}

Measures measure_in(Rooms& rooms, const Llava& llava, const Album& album, int64_t pictures) {
  constexpr int64_t kAtOnce = 64;
  const at::NoGradGuard no_grad;
  const at::Tensor& head = llava.decoder.weights.lm_head;
  const World& world = album.world;
  Rng rng = rng_of_questions(rooms.settings().seed);
  Measures measures;
  const auto count = [](const at::Tensor& guess, const at::Tensor& truth, Score& score) {
    score.right += guess.eq(truth).sum().item<int64_t>();
    score.asked += truth.ge(0).sum().item<int64_t>();
  };
  for (const Group& group : album.groups) {
    const Room& room = rooms.of(group.shape);
    const int64_t wanted = album.asked_of(group, pictures);
    for (int64_t first = 0; first < wanted; first += kAtOnce) {
      const at::Tensor chosen = at::arange(first, std::min(first + kAtOnce, wanted), at::kLong);
      Batch batch = make_batch(world, group, chosen, rooms.settings().questions, rng);
      if (room.compressed != nullptr) batch.chance = rng();
      const Hidden hidden = hidden_of_pictures(llava, room, batch);
      const at::Tensor answers = hidden.asked.matmul(head.t()).argmax(2);
      count(answers, batch.answers, measures.answers);
      const at::Tensor words = room.colours_wanted ? head.narrow(0, kFirstColourId, world.colours())
                                                   : head.narrow(0, first_glyph_id(world), world.glyphs);
      const at::Tensor guess = hidden.in_cells.matmul(words.t()).argmax(2);
      if (room.compressed == nullptr) {
        count(guess, batch.wanted(room), measures.correspondence);
      } else {
        count(guess, wanted_of_cells(hidden.cells, batch.colours), measures.correspondence);
        count_left(*room.compressed, hidden.cells, measures);
      }
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
  trainer.schedule = {settings.constant_rate ? ScheduleKind::kConstant : ScheduleKind::kCosine,
                      settings.steps,
                      warmup_steps(settings.constant_rate ? kWarmupBase : settings.steps, kWarmup)};
  ParameterGroup group;
  group.learning_rate = settings.learning_rate;
  group.floor = kFloor * settings.learning_rate;
  return Trainer(AdamW(make_trainable(llava, {"*"}, {"model.vision_tower.*"}), {group}, AdamW::Settings{}),
                 trainer);
}

}  // namespace

Json to_json(const VisualSettings& settings) {
  Json json = {{"scheme", settings.scheme},
               {"steps", settings.steps},
               {"batch", settings.batch},
               {"questions", settings.questions},
               {"learning_rate", settings.learning_rate},
               {"correspondence", settings.correspondence},
               {"measure_every", settings.measure_every},
               {"measure_pictures", settings.measure_pictures},
               {"seed", settings.seed}};
  // What is not asked for as a rule is named where it is.
  if (!settings.map.empty()) json["map"] = settings.map;
  if (!settings.measure_at.empty()) json["measure_at"] = settings.measure_at;
  if (settings.constant_rate) json["constant_rate"] = true;
  if (settings.library) json["library"] = true;
  if (settings.stop_when_solved > 0) json["stop_when_solved"] = settings.stop_when_solved;
  if (!settings.compress.empty()) json["compress"] = settings.compress;
  if (!settings.merged_id.empty()) json["merged_id"] = settings.merged_id;
  if (!settings.distractor_lengths.empty()) json["distractor_lengths"] = settings.distractor_lengths;
  if (!settings.measure_lengths.empty()) {
    json["measure_lengths"] = settings.measure_lengths;
    json["length_pictures"] = settings.length_pictures;
  }
  if (settings.gaze_pictures > 0) json["gaze_pictures"] = settings.gaze_pictures;
  return json;
}

std::string score_text(const Score& score) {
  return score.asked == 0 ? "—" : fmt::format("{:.3f}", score.share());
}

Measures measure(const Llava& llava, const RoomSettings& settings, const Album& album, int64_t pictures) {
  Rooms rooms(llava, settings, album.world);
  return measure_in(rooms, llava, album, pictures);
}

VisualResult teach_pictures(Llava& llava, const Album& train, const Album& seen, const Album& unseen,
                            const VisualSettings& settings) {
  using Clock = std::chrono::steady_clock;
  Trainer trainer = make_visual_trainer(llava, settings);
  Rooms rooms(llava, room_settings(settings), train.world);
  Deck deck(train, settings.batch, settings.seed);
  TrainingDistractors distractors(settings.distractor_lengths, settings.seed);
  Rng rng = make_rng(settings.seed, {0x61736b});
  VisualResult result;
  double loss_sum = 0;
  int64_t loss_count = 0, right_looks = 0;
  const auto look = [&](int64_t step, int64_t pictures) {
    CurvePoint point;
    point.step = step;
    point.loss = loss_count == 0 ? 0.0 : loss_sum / static_cast<double>(loss_count);
    point.seen = measure_in(rooms, llava, seen, pictures);
    point.unseen = measure_in(rooms, llava, unseen, pictures);
    log_info("{}: step {}, loss {:.4f}, correspondence {} / {}, answers {} / {}", settings.scheme, step,
             point.loss, score_text(point.seen.correspondence), score_text(point.unseen.correspondence),
             score_text(point.seen.answers), score_text(point.unseen.answers));
    right_looks = all_right(point) ? right_looks + 1 : 0;
    result.curve.push_back(point);
    loss_sum = 0;
    loss_count = 0;
  };
  const auto is_due = [&](int64_t step) {
    return step % settings.measure_every == 0 ||
           std::find(settings.measure_at.begin(), settings.measure_at.end(), step) !=
               settings.measure_at.end();
  };
  look(0, settings.measure_pictures);
  Progress progress(settings.scheme, "steps", settings.steps);
  for (int64_t step = 1; step <= settings.steps; ++step) {
    const auto begin = Clock::now();
    const Deck::Draw draw = deck.next();
    const int64_t length = distractors.next_length();
    const Room& room = rooms.of(draw.group->shape, length);
    Batch batch = make_batch(train.world, *draw.group, draw.chosen, settings.questions, rng);
    batch.distractor = distractors.words(draw.chosen.numel(), length);
    if (room.compressed != nullptr) batch.chance = rng();
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
    if (last || is_due(step)) look(step, last ? 0 : settings.measure_pictures);
    if (!last && settings.stop_when_solved > 0 && right_looks >= settings.stop_when_solved) {
      const double loss = result.curve.back().loss;
      result.curve.pop_back();
      look(step, 0);
      result.curve.back().loss = loss;
      result.stopped = true;
      break;
    }
  }
  const auto behind = [&](const Album& album) {
    return measure_fading(llava, room_settings(settings), album, settings.measure_lengths,
                          settings.length_pictures);
  };
  result.fading_seen = behind(seen);
  result.fading_unseen = behind(unseen);
  if (settings.gaze_pictures > 0) {
    result.gaze_seen = measure_gaze(llava, room_settings(settings), seen, settings.gaze_pictures);
    result.gaze_unseen = measure_gaze(llava, room_settings(settings), unseen, settings.gaze_pictures);
  }
  return result;
}

}  // namespace ropescope::miniature
