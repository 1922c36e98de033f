// What every model of a seed knows before it sees a whole picture, whatever its position encoding.
//   tower   vision tower and projector: a patch becomes the embedding of what it shows, the word of its
//           colour for a thumbnail's patch, of its glyph for a tile's (so CLIP and LLaVA's first stage)
//   text    the decoder: after "red dots blue waves ..." it answers "red" with "dots", and knows at "dots"
//           that red came before (so language models). In text alone all encodings are the same
#pragma once

#include <cstdint>

#include "ropescope/models/llava.h"

#include "album.h"

namespace ropescope::miniature {

struct LessonSettings {
  int64_t steps = 0;  ///< of text: at most; its lesson ends when it is known
  int64_t batch = 0;
  double learning_rate = 0;
  uint64_t seed = 0;
};

/// Shares of patches, or of questions, that are right on what was not trained on.
struct TowerReport {
  double colour = 0, glyph = 0;
  /// What a thumbnail's patch tells about its glyph, and a tile's patch about its colour, to a linear reader
  /// of the features: should be near chance, 1/4 and 1/16.
  double glyph_in_thumbnail = 0, colour_in_tile = 0;
};

/// Trains vision tower and projector; word embeddings stay as they are.
TowerReport teach_tower(Llava& llava, const Album& pictures, const Album& others,
                        const LessonSettings& settings);

/// Trains the decoder but its embeddings. Returns the share of questions answered in the end.
double teach_text(Llava& llava, const World& world, const LessonSettings& settings);

}  // namespace ropescope::miniature
