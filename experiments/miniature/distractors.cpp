#include "distractors.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <boost/random/uniform_int_distribution.hpp>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/decoder.h"

namespace ropescope::miniature {

namespace {

constexpr int64_t kShortestWord = 2, kLongestWord = 8;
constexpr int64_t kTextAtOnce = 1024;  // tokens of a pass: bounds its mask
constexpr int64_t kPicturesAtOnce = 4;

/// Whether the first `tokens` tokens sit alike under both: coordinates, and what queries take across modalities.
bool begin_alike(const SequenceEncoding& a, const SequenceEncoding& b, int64_t tokens) {
  const auto alike = [tokens](const at::Tensor& x, const at::Tensor& y) {
    if (!x.defined() || !y.defined()) return x.defined() == y.defined();
    return x.narrow(1, 0, tokens).equal(y.narrow(1, 0, tokens));
  };
  return alike(a.positions().coordinates, b.positions().coordinates) &&
         alike(a.positions().anchors, b.positions().anchors);
}

/// Of tokens that follow those of `cache`, which it then holds too.
at::Tensor hidden_after(const Llava& llava, const SequenceEncoding& encoding, const at::Tensor& embeddings,
                        KvCache& cache, bool wanted, const Taps& taps = {}) {
  const PassEncoding rules = encoding.pass(cache.length(), embeddings.size(1));
  ForwardInput input;
  input.inputs_embeds = embeddings;
  input.encoding = &rules;
  input.cache = &cache;
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kNone;
  options.final_hidden = wanted;
  return forward(llava.decoder, input, options, taps).final_hidden;
}

/// The questions and answers behind what `cache` holds, which stays as it is.
Behind ask(const Llava& llava, const SequenceEncoding& encoding, const at::Tensor& dialogue,
           const KvCache& cache, int64_t image) {
  std::vector<int64_t> asked;
  for (int64_t token = 0; token < dialogue.size(1); token += 2) asked.push_back(token);
  const int64_t layers = llava.decoder.config.num_hidden_layers;
  Behind behind;
  behind.visual_share = at::zeros({dialogue.size(0)});
  Taps taps;
  taps.attention = AttentionRows{asked, [&](int64_t, const at::Tensor& rows) {
                                   const at::Tensor share =
                                       rows.narrow(3, 1, image).sum(3).flatten(1).mean(1);
                                   behind.visual_share += share / static_cast<double>(layers);
                                 }};
  KvCache copy = cache.first(cache.length());
  const at::Tensor hidden = hidden_after(llava, encoding, dialogue, copy, /*wanted=*/true, taps);
  behind.hidden = hidden.index_select(1, at::tensor(asked, at::kLong));
  return behind;
}

}  // namespace

std::vector<int64_t> made_up_words(int64_t tokens, Rng& rng) {
  boost::random::uniform_int_distribution<int64_t> length(kShortestWord, kLongestWord), letter('a', 'z');
  std::vector<int64_t> words;
  words.reserve(static_cast<size_t>(tokens));
  int64_t left = length(rng);  // letters of this word
  while (static_cast<int64_t>(words.size()) < tokens) {
    words.push_back(left > 0 ? letter(rng) : int64_t{' '});
    left = left > 0 ? left - 1 : length(rng);
  }
  return words;
}

TrainingDistractors::TrainingDistractors(std::vector<int64_t> lengths, uint64_t seed)
    : lengths_(std::move(lengths)),
      lengths_rng_(make_rng(seed, {0x6c656e67})),
      words_rng_(make_rng(seed, {0x776f7264})) {}

int64_t TrainingDistractors::next_length() {
  if (lengths_.empty()) return 0;
  boost::random::uniform_int_distribution<size_t> place(0, lengths_.size() - 1);
  return lengths_[place(lengths_rng_)];
}

at::Tensor TrainingDistractors::words(int64_t rows, int64_t length) {
  if (length == 0) return {};
  std::vector<int64_t> all;
  for (int64_t row = 0; row < rows; ++row) {
    const std::vector<int64_t> words = made_up_words(length, words_rng_);
    all.insert(all.end(), words.begin(), words.end());
  }
  return at::tensor(all, at::kLong).view({rows, length});
}

std::vector<Behind> asked_behind(const Llava& llava, Rooms& rooms, const Shape& shape, const Batch& batch,
                                 const std::vector<int64_t>& lengths) {
  const at::NoGradGuard no_grad;
  const Room& room = rooms.of(shape);
  const at::Tensor& table = llava.decoder.weights.embed_tokens;
  const at::Tensor pictures = embed_pictures(llava, room, batch);
  const at::Tensor dialogue = at::embedding(table, batch.dialogue);
  const int64_t image = pictures.size(1) - 1;
  std::vector<Behind> all;
  KvCache cache;
  std::optional<SequenceEncoding> kept;  // that the cache was made under
  for (const int64_t length : lengths) {
    const SequenceEncoding encoding = sequence_of(llava, rooms.settings(), shape, room.world, length);
    if (kept && !begin_alike(*kept, encoding, cache.length())) {
      throw InternalError("distractors: {} places a picture by what follows it", rooms.settings().scheme);
    }
    if (cache.length() == 0) hidden_after(llava, encoding, pictures, cache, /*wanted=*/false);
    while (cache.length() <= image + length) {
      const int64_t known = cache.length() - 1 - image;
      const at::Tensor words = batch.distractor.narrow(1, known, std::min(kTextAtOnce, length - known));
      hidden_after(llava, encoding, at::embedding(table, words), cache, /*wanted=*/false);
    }
    all.push_back(ask(llava, encoding, dialogue, cache, image));
    kept = encoding;
  }
  return all;
}

std::vector<FadingPoint> measure_fading(const Llava& llava, const RoomSettings& settings, const Album& album,
                                        std::vector<int64_t> lengths, int64_t pictures) {
  if (lengths.empty()) return {};
  const at::NoGradGuard no_grad;
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  Rooms rooms(llava, settings, album.world);
  Rng questions = rng_of_questions(settings.seed);  // those of measure()
  std::vector<FadingPoint> points(lengths.size());
  uint64_t seen = 0;  // pictures so far: each has a text of its own
  for (const Group& group : album.groups) {
    const int64_t wanted = album.asked_of(group, pictures);
    for (int64_t first = 0; first < wanted; first += kPicturesAtOnce) {
      const at::Tensor chosen = at::arange(first, std::min(first + kPicturesAtOnce, wanted), at::kLong);
      Batch batch = make_batch(album.world, group, chosen, settings.questions, questions);
      std::vector<at::Tensor> texts;
      for (int64_t row = 0; row < chosen.numel(); ++row) {
        Rng words = make_rng(settings.seed, {0x6265686e, seen++});
        texts.push_back(at::tensor(made_up_words(lengths.back(), words), at::kLong));
      }
      batch.distractor = at::stack(texts);
      const std::vector<Behind> all = asked_behind(llava, rooms, group.shape, batch, lengths);
      for (size_t i = 0; i < lengths.size(); ++i) {
        const at::Tensor guess = all[i].hidden.matmul(llava.decoder.weights.lm_head.t()).argmax(2);
        points[i].answers.right += guess.eq(batch.answers).sum().item<int64_t>();
        points[i].answers.asked += guess.numel();
        points[i].visual_share += all[i].visual_share.sum().item<double>();
        points[i].pictures += chosen.numel();
      }
    }
  }
  for (size_t i = 0; i < lengths.size(); ++i) {
    points[i].length = lengths[i];
    if (points[i].pictures > 0) points[i].visual_share /= static_cast<double>(points[i].pictures);
  }
  return points;
}

}  // namespace ropescope::miniature
