// What attention is measured on: tokens of a decoder, what they stand for, and the pictures that some of them
// show. One form for text, for LLaVA prompts, and for layouts filled with patch features.
// Shapes  T tokens, C hidden_size
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/decoder.h"
#include "ropescope/rope/layout.h"
#include "ropescope/vision/media_plan.h"

namespace ropescope {

/// A picture, and how its grids lie on it.
struct AttendedPicture {
  std::string name;
  at::Tensor rgb_HW3;  ///< uint8; may be undefined where only its size is known
  /// Of the thumbnail or only grid, and of the high-resolution grid (that of all tiles together). None: the
  /// grid covers the picture.
  std::optional<CellMap> whole, high;
  int64_t width = 0, height = 0;  ///< pixels
};

struct AttentionInput {
  std::string name;
  at::Tensor input_ids;       ///< int64 [1, T]; what stands at visual tokens is not read with inputs_embeds
  at::Tensor inputs_embeds;   ///< [1, T, C], or undefined
  at::Tensor attention_mask;  ///< int64 [1, T], or undefined
  std::vector<AddedFeatures> added = {};  ///< DeepStack
  at::Tensor groups = {};                 ///< [1, T], pictures whose tokens see each other; or undefined
  Layout layout;
  std::string clips = {};                 ///< what the record says of clips, as JSON; empty: none
  std::vector<AttendedPicture> pictures;  ///< of the layout's visual blocks, in order; may be fewer
  /// Tokens of the question: the text that asks, at the end of the sequence.
  int64_t question_first = 0, question_tokens = 0;
  bool untrained_features = false;  ///< visual embeddings come from a random projection

  int64_t tokens() const { return input_ids.size(1); }
};

/// What each token is. Each vector has one entry a token; -1 where it does not apply.
struct TokenPlaces {
  std::vector<Modality> modality;
  /// Frame or grid, from 0. The tiles of a picture make one grid together, in whatever order their tokens come
  /// (Positions::raster counts such tiles one by one).
  std::vector<int64_t> raster;
  std::vector<int64_t> row, column;  ///< in its raster
  std::vector<int64_t> block;        ///< visual block, from 0, its newline tokens and separators included
  /// Of a high-resolution token: the thumbnail token that shows the same part of the picture (nearest rule of
  /// rope/id_align.h).
  std::vector<int64_t> partner;

  int64_t tokens() const { return static_cast<int64_t>(modality.size()); }
};
TokenPlaces token_places(const Layout& layout);

/// Sets question_first and question_tokens to the layout's last text run (none if it ends with an image).
void take_last_text_as_question(AttentionInput& input);

/// The first token behind the last visual block. Throws UsageError where there is none.
int64_t token_behind_images(const Layout& layout);

/// `ids` put between the last visual block and the text behind it (DIPE's protocol for long contexts).
/// Throws UsageError where no text follows a visual block.
AttentionInput with_distractor(const Decoder& decoder, const AttentionInput& input,
                               const std::vector<int64_t>& ids);

/// A rectangle of a picture, pixels.
struct PixelRegion {
  double x = 0, y = 0, width = 0, height = 0;
};
/// "x,y,w,h". Throws UsageError.
PixelRegion parse_region(const std::string& text);

/// The high-resolution tokens of the first picture (without any: the tokens of its only grid) whose cells the
/// region touches. Throws UsageError if there is no picture, or the region lies outside.
std::vector<int64_t> region_tokens(const AttentionInput& input, const TokenPlaces& places,
                                   const PixelRegion& region);

/// The question's tokens that hold characters of `word`, at its first place there as a whole word. `decode`:
/// text of ids. Throws UsageError with the question's text if it is not there.
std::vector<int64_t> word_tokens(const AttentionInput& input, const std::string& word,
                                 const std::function<std::string(const std::vector<int64_t>&)>& decode);

}  // namespace ropescope
