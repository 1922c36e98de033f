// Position ids under a rule that is taken apart: what M-RoPE's code decides one thing after the other, each of which
// somebody's code decided otherwise. As it stands it gives what the model's own scheme gives; a known mistake
// (id_mistakes.h) changes a field or two.
//   text   b, b + 1, ...
//   block  t = b + trunc(step tau), h = b + y, w = b + x; the text behind it begins at b' = b + max(step (T-1), H-1, W-1) + 1
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/audit/audited_prompt.h"

namespace ropescope {

struct IdRule {
  /// Where text goes on behind a block: at its largest id + 1, at b + max(H, W), at b + its number of tokens.
  enum class After { kLargest, kExtent, kTokens };
  /// What rows and columns of a block count from, and its frames.
  enum class Origin { kRunning, kSpatialZero, kAllZero };
  /// Where generated tokens begin: where text would go on, at the largest id + 1, at the number of tokens that count, of
  /// all tokens, at 0, at `decode_from` of their row.
  enum class Decode { kNext, kLargest, kSeenTokens, kAllTokens, kZero, kGiven };

  bool one_row = false;  ///< every token counts as text
  Counting counting;
  After after = After::kLargest;
  Origin origin = Origin::kRunning;
  bool time_scales_origin = false;  ///< t = b step for all tokens of a block, as transformers 5.3 had it
  std::optional<std::vector<double>> steps;  ///< of each item, in place of the rule's
  std::array<int64_t, 3> order = {0, 1, 2};  ///< which axis stands in row t, h, w
  int64_t chunk = 0;  ///< > 0: prefill in chunks of so many tokens, each with the ids of the first
  std::optional<double> later_parts;  ///< the id of all tokens of a row's second and further texts
  Decode decode = Decode::kNext;
  std::vector<double> decode_from;  ///< [B]
  std::vector<double> shift;        ///< [B] added to every id; empty: none
};

/// Ids from one group of frames to the next that the rule has for each item.
std::vector<double> rule_steps(const AuditedPrompt& prompt);

/// [axes, B, count] float64, 0 where hidden; undefined where the rule cannot be followed (a restart inside a picture).
at::Tensor ids_under(const AuditedPrompt& prompt, const IdRule& rule, const IdWindow& window);

}  // namespace ropescope
