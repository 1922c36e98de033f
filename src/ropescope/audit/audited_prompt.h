// A prompt whose position ids were recorded somewhere: which of its tokens count, from where each text of a packed row
// counts, and which picture or clip a token stands for. Shapes  B rows, T tokens of the prompt
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/vlm_config.h"
#include "ropescope/models/media_prompt.h"
#include "ropescope/rope/layout.h"

namespace ropescope {

/// A picture or a clip of the prompt.
struct AuditedItem {
  MediaKind kind = MediaKind::kImage;
  int64_t groups = 1;  ///< of frames that one block holds: ids of time advance between them
  double seconds = 0;  ///< of a clip: from one group of frames to the next
};

struct AuditedPrompt {
  std::string rule;           ///< text of the scheme that the model's own ids follow
  int64_t axes = 1;           ///< rows of those ids: 1, or 3 (t, h, w)
  double ids_per_second = 0;  ///< MediaMarks::ids_per_second
  double frame_step = 1;      ///< ids between two groups of frames where no seconds are counted
  int64_t frames_in_group = 2;
  int64_t batch = 0, tokens = 0;
  std::vector<AuditedItem> items;
  std::vector<Layout> layouts;               ///< of each row, T tokens
  std::vector<std::vector<int64_t>> blocks;  ///< of each row: the item of each visual block of its layout
  std::vector<int64_t> item_of;  ///< [B T]: the item that a token stands for, or MediaPrompt::kText
  /// [B T]: which text of a packed row a token belongs to, from 0; kHidden: padding.
  std::vector<int64_t> part_of;

  static constexpr int64_t kHidden = -1;
  bool hidden(int64_t row, int64_t token) const {
    return part_of[static_cast<size_t>(row * tokens + token)] == kHidden;
  }
  bool packed() const;
  bool padded() const;
  /// Whether any clip has several groups of frames in one block.
  bool has_clip() const;
  bool has_media() const { return !items.empty(); }
};

/// What is known of the prompt.
struct PromptInputs {
  at::Tensor input_ids;  ///< int64 [B, T], or undefined: text
  at::Tensor
      attention_mask;  ///< int64 [B, T], or undefined; 0 padding, above 1 the number of a packed text, from 1
  std::vector<MediaPlan> plans;   ///< of the pictures and clips, each kind in its order
  std::vector<int64_t> parts;     ///< lengths of the texts that a row packs; empty: one text
  int64_t batch = 1, tokens = 0;  ///< where input_ids are not known
};

/// `vlm`: null for a model without pictures. Throws InputError where ids, grids, mask and parts do not fit together.
AuditedPrompt audited_prompt(const DecoderConfig& config, const VlmConfig* vlm, const PromptInputs& inputs);

/// Tokens of one row that count from 0 together, in order.
struct Stretch {
  int64_t row = 0;
  std::vector<int64_t> places;  ///< their indices in the row
  Layout layout;                ///< of exactly these tokens
  std::vector<int64_t> items;   ///< of each visual block of the layout
};

/// How a row falls into stretches.
struct Counting {
  bool hidden_too = false;        ///< padding takes ids
  bool joined = false;            ///< the texts of a packed row are one
  std::vector<int64_t> restarts;  ///< further tokens at which every row begins anew, ascending
};

/// Rows in order; none where a restart falls inside a picture.
std::optional<std::vector<Stretch>> stretches(const AuditedPrompt& prompt, const Counting& counting = {});

/// Columns of a record: tokens first, first + 1, ... of every row; those from T on were generated.
struct IdWindow {
  int64_t first = 0, count = 0;
  int64_t end() const { return first + count; }
};

/// The ids that the model's own rule gives, by its scheme (rope/scheme.h): [axes, B, count] float64, 0 where hidden.
at::Tensor ids_of_rule(const AuditedPrompt& prompt, const IdWindow& window);

/// The row "text positions" that transformers puts before the three others: each text counts its own visible tokens.
at::Tensor text_positions(const AuditedPrompt& prompt, const IdWindow& window, const Counting& counting = {});

}  // namespace ropescope
