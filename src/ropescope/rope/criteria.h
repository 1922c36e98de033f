// The three criteria of "Revisiting Multimodal Positional Encoding" (arXiv 2510.23095) as numbers that can be
// computed for any scheme and layout. The paper states them in prose; the definitions here are ours.
//
// Only axes (rows of the coordinates) that reach the rotation count: those with at least one channel. Generated tokens count as text.
//   1 positional coherence: no token shares all its coordinates with another (a); no visual coordinate
//     reaches the t id of the text that follows, no visual t id that of the text before (b); inside each
//     raster coordinates are an affine image of (frame, row, column) of full rank (c)
//   2 full frequency use: every axis has channels in every one of 8 equal bins of log-frequency
//   3 textual priors: text alone gets exactly 0, 1, 2, ... with the checkpoint's frequency on every channel,
//     and text after a visual block has the same id on all axes. A channel that follows several rows has its
//     checkpoint's frequency where its weights sum to 1
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/rope/ptd.h"
#include "ropescope/rope/scheme.h"

namespace ropescope {

struct CriteriaOptions {
  RopeConfig rope;  ///< the checkpoint's
  int64_t head_dim = 128;
  std::optional<int64_t> kv_heads;  ///< unset: as many as the scheme's own sections count, else 1
  int64_t max_position_embeddings = 0;
  int64_t generated_tokens = 64;
};

struct Criteria {
  /// Pairs of tokens that share all coordinates. Under ID-Align pairs of one thumbnail cell (the cell's own
  /// token, the high-resolution tokens that lie in it, and newlines and separators that inherit its ids) are
  /// meant to, and are not counted.
  int64_t visual_text_collisions = 0, visual_visual_collisions = 0;
  /// Visual tokens with a coordinate >= the t id of the next text token after their block; visual tokens with
  /// a t id <= that of the last text token before it (0 where t does not rotate).
  int64_t at_or_after_following_text = 0, at_or_before_preceding_text = 0;
  /// Largest |coordinate - affine fit|, and the rank of the fit beside the number of dimensions with more
  /// than one cell. Rasters are fitted one by one (a video as one, tiles that stand in the sequence one by one
  /// each for itself, newline tokens left out, ID-Align's high-resolution tokens in the coordinates of their
  /// thumbnail cells); the worst is kept.
  double affine_residual = 0;
  int64_t affine_rank = 0, affine_rank_needed = 0;
  double growth_per_visual_token = 0;  ///< ids that the text loses to visual blocks, per visual token
  /// Share of the bins of each row, in the best head, and the rows' names; t, h, w for a scheme with one.
  std::vector<std::string> row_names = {"t", "h", "w"};
  std::vector<double> bin_coverage = {0, 0, 0};
  /// Parts of the textual prior: ids of text alone, frequencies, text after a visual block.
  bool text_ids = true, text_frequencies = true, text_axes_equal = true;

  PerTokenDistance ptd;  ///< ids (ptd.h)

  int64_t axes = 1;  ///< of the scheme; full frequency use says nothing about 1
  bool coherent() const;
  bool full_frequency() const;
  bool text_prior() const { return text_ids && text_frequencies && text_axes_equal; }
};

/// `positions` are the scheme's on `layout`. Memory is linear in the tokens, and so is time (up to a sort) but for
/// PTD's, which grows with text tokens times visual ones. Throws
/// UsageError if the scheme's sections do not fit the head.
Criteria judge(const Scheme& scheme, const Layout& layout, const Positions& positions,
               const CriteriaOptions& options);

/// Key/value heads of a scheme's table: `given`, else what its own sections count, else 1.
int64_t kv_heads_of(const Scheme& scheme, std::optional<int64_t> given);

/// Channels of a head: `given`, else twice what the scheme's own sections sum to, else 128.
int64_t head_dim_of(const Scheme& scheme, std::optional<int64_t> given);

/// The verdicts with their reasons, as short sentences: "36 visual tokens at or after the text that follows".
/// Empty where the criterion holds.
std::string coherence_faults(const Criteria& criteria);
std::string frequency_faults(const Criteria& criteria);
std::string text_prior_faults(const Criteria& criteria);

/// Field names as in tests/golden/positions/criteria.json.
Json to_json(const Criteria& criteria);

/// What arXiv 2510.23095 says in prose about a scheme; a criterion that it does not judge is unset.
struct PublishedVerdict {
  std::optional<bool> coherent, full_frequency, text_prior;
  std::string note;  ///< why, or which form of the scheme it judges
};
/// None for combinations and for schemes that the paper does not name.
std::optional<PublishedVerdict> published_verdict(const Scheme& scheme);
/// {"coherent":...,"full_frequency":...,"text_prior":...,"note":...}, null where it does not judge.
Json to_json(const PublishedVerdict& verdict);

}  // namespace ropescope
