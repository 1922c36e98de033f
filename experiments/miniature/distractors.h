// Distractors, text between a picture and the questions about it: what they are made of, which lengths a model is trained with,
// and what is measured behind thousands of tokens (fading).
//   <s> [picture] distractor colour glyph colour glyph ...
// The text is made up: words of 2 to 8 lower-case letters with a blank after each, a byte a token. It names no colour and no
// glyph, so it neither gives an answer away nor contradicts the picture: what is measured is distance and dilution, not
// confusion. What a decoder knows of text before it sees pictures (lessons.h) has no such words, for any encoding.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/core/json.h"
#include "ropescope/core/random.h"

#include "rooms.h"
#include "visual.h"

namespace ropescope::miniature {

/// `tokens` tokens of made-up words; a longer text from the same stream begins with a shorter one.
std::vector<int64_t> made_up_words(int64_t tokens, Rng& rng);

/// Those of a run of training: a length for each step, of those given with equal chance, and for each picture words of its own.
/// Streams of their own, so that a run with none, or with length 0 alone, is what it would be without this.
class TrainingDistractors {
 public:
  TrainingDistractors(std::vector<int64_t> lengths, uint64_t seed);
  /// 0 where there are no lengths.
  int64_t next_length();
  /// int64 [rows, length]; undefined for no tokens.
  at::Tensor words(int64_t rows, int64_t length);

 private:
  std::vector<int64_t> lengths_;
  Rng lengths_rng_, words_rng_;
};

/// The tokens that ask, behind a distractor.
struct Behind {
  at::Tensor hidden;  ///< after the last norm, [B, questions, C]
  /// float32 [B]: of their attention on the picture's tokens, newlines too; mean over layers, heads and questions.
  at::Tensor visual_share;
};

/// Behind the first `lengths[i]` tokens of batch.distractor, for each i; lengths ascend. Picture and distractor go through the decoder
/// once, as it grows; then the questions alone. Throws InternalError for a scheme that places them by what follows (none does).
std::vector<Behind> asked_behind(const Llava& llava, Rooms& rooms, const Shape& shape, const Batch& batch,
                                 const std::vector<int64_t>& lengths);

/// Answers behind distractors of these lengths (sorted, each once): the same pictures, questions and, but for its length, text. `pictures`: at
/// most so many, spread over the album's shapes; 0: all. At length 0 it is what `measure` counts on so many.
std::vector<FadingPoint> measure_fading(const Llava& llava, const RoomSettings& settings, const Album& album,
                                        std::vector<int64_t> lengths, int64_t pictures);

}  // namespace ropescope::miniature
