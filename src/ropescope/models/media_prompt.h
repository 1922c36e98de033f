// Prompts with pictures and clips in them: which tokens stand for which of them, and the layout that follows.
// What an item becomes is its MediaPlan's business (vision/media_plan.h); here its runs of placeholder tokens are found
// among the ids. Shapes  B rows, T tokens
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/rope/layout.h"
#include "ropescope/vision/media_plan.h"

namespace ropescope {

/// The ids that stand for tokens of pictures and of clips.
struct MediaMarks {
  /// Stands for a whole item in the token ids of the original LLaVA code, and among the ids of a question.
  static constexpr int64_t kAnyItem = -200;

  int64_t image = kAnyItem;
  int64_t video = kAnyItem;  ///< GLM: the image's
  /// Ids between two frame groups of a clip for each second between them (Qwen2.5-VL); 0: frame groups are counted.
  double ids_per_second = 0;

  bool holds(int64_t id) const { return id == image || id == video || id == kAnyItem; }
};

struct MediaPrompt {
  at::Tensor input_ids;         ///< int64 [B, T]
  at::Tensor attention_mask;    ///< int64 [B, T], or undefined
  std::vector<Layout> layouts;  ///< of each row, T tokens; padding counts as text
  /// [B T], row-major: which item a token stands for, kText, or kPadding for a token that was added. Separators between
  /// the runs of an item are text.
  std::vector<int64_t> item_of;
  /// The item of each visual block of a row's layout, and which of the item's blocks it is.
  struct Block {
    int64_t item = 0, part = 0;
  };
  std::vector<std::vector<Block>> blocks;

  static constexpr int64_t kText = -1, kPadding = -2;
};

/// Finds the items of `input_ids` [B, T'], which are taken in order, row by row, pictures and clips each in their own
/// order. An item is all of its placeholder tokens; one that needs no text between its runs may be one token, or one
/// -200, which is expanded. Rows that come to different lengths lose the tokens that `attention_mask` hides and are
/// padded on the right. Throws InputError if items and tokens do not match, or a text token lies outside the vocabulary.
MediaPrompt place_media(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                        const std::vector<MediaPlan>& plans, const MediaMarks& marks, int64_t vocab_size);

/// A picture or clip without text between its runs, as one block (a clip of several runs: the first).
Segment media_segment(const MediaPlan& plan, const MediaMarks& marks = {});

}  // namespace ropescope
