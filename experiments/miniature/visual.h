// Training on pictures under a position encoding, and what is measured on the way.
//   <s> [picture] colour glyph colour glyph ...      questions and answers, as rounds of a conversation
// end task         the answer's largest logit over the whole vocabulary is the right glyph
// correspondence   read off a high-resolution token that lies in one cell: the largest of the colours' logits
//                  is that cell's colour, which only the thumbnail shows. Where the thumbnail comes last: read off
//                  a thumbnail token, the largest of the glyphs' logits is its cell's glyph, which only the tiles show
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/models/llava.h"
#include "ropescope/rope/scheme.h"

#include "album.h"

namespace ropescope::miniature {

struct VisualSettings {
  std::string scheme = "vanilla";
  int64_t steps = 400;
  int64_t batch = 32;     ///< pictures
  int64_t questions = 8;  ///< of a picture
  double learning_rate = 2e-3;
  /// Weight of the correspondence as a target beside the answers; 0: answers only.
  double correspondence = 1.0;
  int64_t measure_every = 25;     ///< steps
  int64_t measure_pictures = 64;  ///< of an album, on the way; all of them in the end
  uint64_t seed = 0;
};
Json to_json(const VisualSettings& settings);

/// Right answers, and how many were asked.
struct Score {
  int64_t right = 0, asked = 0;
  double share() const { return asked == 0 ? 0.0 : static_cast<double>(right) / static_cast<double>(asked); }
};

struct Measures {
  Score correspondence, answers;
};

/// `pictures`: at most so many of each album's pictures, spread over its shapes; 0: all.
Measures measure(const Llava& llava, const Scheme& scheme, const Album& album, int64_t pictures,
                 int64_t questions, uint64_t seed);

struct CurvePoint {
  int64_t step = 0;
  double loss = 0;  ///< of the answers, over the steps since the last point
  Measures seen, unseen;
};

struct VisualResult {
  std::vector<CurvePoint> curve;  ///< the last point is over all pictures
  double seconds = 0;             ///< of training, without measuring
};

/// Trains all but the vision tower. Albums after look_at.
VisualResult teach_pictures(Llava& llava, const Album& train, const Album& seen, const Album& unseen,
                            const VisualSettings& settings);

}  // namespace ropescope::miniature
