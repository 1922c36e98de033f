// Fewer high-resolution tokens: which tokens of a picture's sequence become one, and what that one is.
//   pool-S   before the decoder: squares of S x S tokens become their mean (LLaVA's poolings); newlines of S rows too
//   drop-P   before the decoder: P percent of the tokens, by chance, others in every picture and step, are left out
//   tome-P   before the decoder: P percent are merged into others that resemble them, by ToMe's bipartite matching (arXiv
//            2210.09461) on the frozen tower's features; a merged token is its members' mean. ToMe merges inside the tower, where
//            here nothing is trained, and adds log(size) to the logits of attention, which is left out here
//   prune-P  after the decoder's first layer: the P percent that the asking tokens attend to least, mean over heads, are left out
//            (FastV, arXiv 2403.06764; its code asks the prompt's last token, here each round of the conversation has one that asks)
//   tofu-P   after the first layer tokens that resemble another are left out, after the second such are merged into it (ToFu, arXiv
//            2312.01026: prune in early layers, where a model bends most, merge in later ones), each time the same share of what
//            is there. Alike by the cosine of the layer's keys as they meet queries, rotated; merged by MLERP, which keeps the norm,
//            ours the members' largest:  y = (max_i |x_i|) s / |s|,  s = mean_i x_i
// Thumbnail, newlines (but for pools) and text stay. Shapes  N high-resolution tokens, T tokens of the sequence
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/core/random.h"
#include "ropescope/rope/layout.h"

#include "pictures.h"
#include "views.h"

namespace ropescope::miniature {

enum class CompressionKind { kNone, kPool, kDrop, kTome, kPrune, kTofu };

/// Ids of a token that stands for others (merged_ids.h).
enum class MergedId { kCell, kMean, kPpe, kAfter };

struct Compression {
  CompressionKind kind = CompressionKind::kNone;
  int64_t amount = 0;  ///< tokens a side of a pool; else percent of the high-resolution tokens that go
  MergedId ids = MergedId::kCell;

  bool none() const { return kind == CompressionKind::kNone; }
  /// Layers of a decoder before the last reduction.
  int64_t layers_before() const;
  /// Of a picture with `high` high-resolution tokens, those left when layer `layer` (from 0) begins; not of pools.
  int64_t left(int64_t high, int64_t layer) const;
};

/// "" or "none", "pool-2", "drop-50", ...; `merged_id` "cell", "mean", "ppe" or "after", "" as "cell". Throws UsageError for what is
/// neither, and for `mean` and `ppe` where no token has several members.
Compression parse_compression(const std::string& text, const std::string& merged_id);
/// "pool-2", "pool-2, mean": as tables name it; "" for none.
std::string compression_text(const Compression& compression);

/// What the tokens of a picture's sequence are: text, thumbnail, high-resolution tokens row by row (newlines between), text.
struct PictureSequence {
  Layout layout;  ///< three segments
  int64_t tokens = 0;
  int64_t rows = 0, columns = 0;  ///< of the high-resolution grid
  std::vector<int64_t> high;      ///< tokens, ascending
  std::vector<int64_t> cells;     ///< of each of `high`: its cell, -1 for several
  std::vector<int64_t> newlines;  ///< the token that closes each row; empty where none does
  std::vector<int64_t> asked;     ///< tokens that ask, ascending
  std::vector<int64_t> place_of;  ///< [tokens] index into `high`, -1 of others
  int64_t image_tokens = 0;       ///< from token 1 on
  int64_t thumbnail_cells = 0;
};

/// Of a conversation about a picture: <s>, the picture, then rounds of one token that asks and one that answers. `layout` has
/// these three segments. Of an order in which the thumbnail comes first.
PictureSequence picture_sequence(const Shape& shape, const View& view, const Layout& layout);

/// Every token for itself.
Members each_alone(int64_t tokens);
/// `groups` of tokens that stand for `members`: those of the sequence that each group stands for, ascending.
Members composed(const Members& members, const Members& groups);
/// The cell that all members lie in; -1 where there is none or the token is no high-resolution one.
int64_t cell_of_members(const PictureSequence& sequence, const std::vector<int64_t>& members);

/// What pools make of the sequence; at the right and lower edge they may have fewer members.
Members pooled(const PictureSequence& sequence, int64_t side);
/// `left` of `count`, by chance, ascending.
std::vector<int64_t> chosen_by_chance(int64_t count, int64_t left, Rng& rng);
/// The `left` largest of `scores`, the earlier of equal ones; ascending.
std::vector<int64_t> largest(const std::vector<float>& scores, int64_t left);
/// ToMe's matching, in rounds: tokens in their order go to two sets in turn; each of the first set names the one of the second with
/// the largest cosine, and as many of the largest as are to go join it, at most half of the tokens a round. `merge`: what joined
/// counts in the next round's features, as their mean; else it is lost and not listed. features [count, width]. Members
/// ascending, groups by their first member.
Members alike(const std::vector<float>& features, int64_t count, int64_t width, int64_t left, bool merge);
/// The groups of the whole sequence, in order, where of its tokens `some` are grouped by `groups` (indices into `some`) and the
/// others stay alone.
Members in_sequence(int64_t tokens, const std::vector<int64_t>& some, const Members& groups);

}  // namespace ropescope::miniature
