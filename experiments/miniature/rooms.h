// What pictures of one shape share under a scheme (a room), batches of them, and their way through the model.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/core/random.h"
#include "ropescope/models/llava.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/rope/scheme.h"

#include "album.h"
#include "compressed_pass.h"
#include "quick_decoder.h"

namespace ropescope::miniature {

/// The scheme with id-align's `wrong` and the seed for it: "id-align+mrope", "mirror" give
/// "id-align:wrong=mirror,wrong_seed=3+mrope". Throws UsageError for a scheme without id-align in front, or a map that is none.
std::string with_map(const std::string& scheme, const std::string& map, uint64_t seed);

/// What a run asks of its rooms.
struct RoomSettings {
  std::string scheme = "vanilla";
  std::string map;  ///< id-align's `wrong`: of inherited ids; "": the right one
  int64_t questions = 8;
  uint64_t seed = 0;
  bool library = false;  ///< the library's passes, also where quick ones would do
  Compression compression = {};
};

/// Start, picture, so many tokens of a distractor, questions and answers; under the scheme.
SequenceEncoding sequence_of(const Llava& llava, const RoomSettings& settings, const Shape& shape,
                             const World& world, int64_t distractor);

/// Positions, and which tokens are what.
struct Room {
  /// `distractor`: tokens of text between picture and questions.
  Room(const Llava& llava, const RoomSettings& settings, const Shape& shape, const World& world,
       int64_t distractor = 0);

  World world;
  at::Tensor newline;          ///< bool [1, image tokens, 1]
  at::Tensor in_cells;         ///< tokens that may know something of one cell from the grid before them [n]
  at::Tensor cell_of;          ///< their cells [n]
  at::Tensor asked;            ///< tokens that ask, [questions]
  bool colours_wanted = true;  ///< of in_cells: the cell's colour, else its glyph
  int64_t tokens = 0;
  PassEncoding encoding;
  /// Where quick_decoder.h knows the encoding: for in_cells and then asked, for asked alone.
  std::unique_ptr<QuickPass> quick, quick_answers;
  /// Where tokens are compressed, in their place; in_cells are then those that are left, in each picture others.
  std::unique_ptr<CompressedPass> compressed;
};

/// Rooms are made when first entered; one for each shape and length of the distractor.
class Rooms {
 public:
  Rooms(const Llava& llava, RoomSettings settings, const World& world)
      : llava_(llava), settings_(std::move(settings)), world_(world) {}
  const Room& of(const Shape& shape, int64_t distractor = 0);
  const RoomSettings& settings() const { return settings_; }

 private:
  const Llava& llava_;
  RoomSettings settings_;
  World world_;
  std::map<std::pair<std::string, int64_t>, Room> rooms_;  // by shape and distractor
};

struct Batch {
  at::Tensor features;    ///< [B, image tokens, tower channels]
  at::Tensor dialogue;    ///< int64 [B, 2 * questions]
  at::Tensor answers;     ///< int64 [B, questions]
  at::Tensor colours;     ///< int64 [B, cells]
  at::Tensor glyphs;      ///< int64 [B, cells]
  at::Tensor distractor;  ///< int64 [B, its tokens], between picture and questions; undefined: none
  uint64_t chance = 0;    ///< of which tokens a compression drops

  /// What a room's in_cells are asked for, [B, n], counted from the first word of its kind.
  at::Tensor wanted(const Room& room) const {
    return (room.colours_wanted ? colours : glyphs).index_select(1, room.cell_of);
  }
};

/// Questions by chance. Throws UsageError where a picture has not so many.
Batch make_batch(const World& world, const Group& group, const at::Tensor& chosen, int64_t questions,
                 Rng& rng);

/// Chance of the questions that a run's measures ask: the same at every look and behind every length of text.
Rng rng_of_questions(uint64_t seed);

/// Direction of the marker's cell, seen from `cell`: 0 to 3 as kDirectionWords; -1 where two are as far.
int64_t direction_of(int64_t cell, int64_t marker, int64_t side);

/// Start and picture as they go into the decoder, [B, 1 + image tokens, C].
at::Tensor embed_pictures(const Llava& llava, const Room& room, const Batch& batch);

/// All that goes into the decoder, [B, T, C]: these, a distractor where there is one, questions and answers.
at::Tensor embed_sequence(const Llava& llava, const Room& room, const Batch& batch);

/// After the last norm, of the tokens in_cells and of those that ask: [B, n, C] each.
struct Hidden {
  at::Tensor in_cells, asked;
  at::Tensor
      cells;  ///< where tokens are compressed: the cell of each of in_cells, -1 for none of its own; int64 [B, n]
};
Hidden hidden_of_pictures(const Llava& llava, const Room& room, const Batch& batch);

/// The loss that is minimised, times `scale`, and the answers' part of it.
struct PictureLoss {
  at::Tensor loss;
  double answers = 0;
};
/// `correspondence`: weight of the cells beside the answers.
PictureLoss loss_of_pictures(const Llava& llava, const Room& room, const Batch& batch, double correspondence,
                             double scale);

}  // namespace ropescope::miniature
