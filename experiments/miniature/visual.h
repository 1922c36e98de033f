// Training on pictures under a position encoding, and what is measured on the way.
//   <s> [picture] colour glyph colour glyph ...      questions and answers, as rounds of a conversation (where the task is the
//                                                    relation: colour direction ...)
// end task         the answer's largest logit over the whole vocabulary is the right word
// correspondence   read off a high-resolution token that lies in one cell: the largest of the colours' logits
//                  is that cell's colour, which only the thumbnail shows. Where the thumbnail comes last: read off
//                  a thumbnail token, the largest of the glyphs' logits is its cell's glyph, which only the tiles show
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/models/llava.h"

#include "album.h"
#include "gaze.h"
#include "rooms.h"

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
  std::string map = {};                  ///< of inherited ids (id-align's wrong=); "": the right one
  std::vector<int64_t> measure_at = {};  ///< steps besides
  bool constant_rate = false;            ///< no annealing, so that one run is a curve over the steps
  bool library = false;                  ///< the library's passes, also where the quick ones would do
  int64_t stop_when_solved = 0;  ///< after so many looks in a row at which nothing was wrong; 0: never
  std::string compress = {}, merged_id = {};     ///< as parse_compression reads them; "": nothing
  std::vector<int64_t> distractor_lengths = {};  ///< tokens of a distractor, one by chance a step; {}: none
  std::vector<int64_t> measure_lengths = {};     ///< of distractors, asked behind once the run is over
  int64_t length_pictures = 32;                  ///< of an album, asked about behind each of them
  int64_t gaze_pictures =
      0;  ///< of an album, whose tokens' attention is looked at once the run is over; 0: none
};
Json to_json(const VisualSettings& settings);

/// Right answers, and how many were asked.
struct Score {
  int64_t right = 0, asked = 0;
  double share() const { return asked == 0 ? 0.0 : static_cast<double>(right) / static_cast<double>(asked); }
};

/// The share, "0.943"; "—" where nothing was asked.
std::string score_text(const Score& score);

struct Measures {
  Score correspondence, answers;
  /// Where tokens are compressed: high-resolution tokens that are left, and cells that one of them lies in alone, of all.
  Score tokens_left, cells_left;
};

/// `pictures`: at most so many of each album's pictures, spread over its shapes; 0: all.
Measures measure(const Llava& llava, const RoomSettings& settings, const Album& album, int64_t pictures);

/// Answers behind a distractor.
struct FadingPoint {
  int64_t length = 0;  ///< tokens
  Score answers;
  double visual_share = 0;  ///< of the asking tokens' attention on the picture: mean over all of them
  int64_t pictures = 0;
};

struct CurvePoint {
  int64_t step = 0;
  double loss = 0;  ///< of the answers, over the steps since the last point
  Measures seen, unseen;
};

struct VisualResult {
  std::vector<CurvePoint> curve;                        ///< the last point is over all pictures
  bool stopped = false;                                 ///< before its steps were over, with everything right
  double seconds = 0;                                   ///< of training, without measuring
  std::vector<FadingPoint> fading_seen, fading_unseen;  ///< at measure_lengths, ascending
  std::optional<Gaze> gaze_seen, gaze_unseen;           ///< where gaze_pictures are asked for
};

/// Trains all but the vision tower. Albums after look_at.
VisualResult teach_pictures(Llava& llava, const Album& train, const Album& seen, const Album& unseen,
                            const VisualSettings& settings);

}  // namespace ropescope::miniature
