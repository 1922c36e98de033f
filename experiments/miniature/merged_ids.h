// Where a token sits that stands for several (compression.h), under any scheme that only rotates.
//   ids first, then compression, m members with the ids p_1 ... p_m, ascending in the sequence:
//     cell   the ids that most members have, of equally many the first's: with ID-Align its thumbnail cell's
//     mean   (1/m) sum_i p_i on every row, a fraction as a rule
//     ppe    PPE (arXiv 2510.22936): of k = 8 parts of each row's channels part j turns by p_(j mod m); where k does not divide them,
//            channel i by row i mod (rows k), as the scheme ppe has it
//   compression first, then ids:
//     after  pools: the scheme's own ids of the coarser grid. Else schemes of one row count what is left through, as one picture of
//            one row of tokens; with ID-Align a token has the ids of the high-resolution token nearest its members' mean place
// What is not of the high-resolution part keeps its ids but under `after`, which text goes on behind.
#pragma once

#include <map>

#include <ATen/core/Tensor.h>

#include "ropescope/rope/encoding.h"
#include "ropescope/rope/frequencies.h"
#include "ropescope/rope/scheme.h"

#include "compression.h"

namespace ropescope::miniature {

inline constexpr int64_t kPpeMembers = 8;

class MergedIds {
 public:
  /// Throws UsageError for schemes that ask more of attention than rotation or differ from layer to layer, and where `after` has
  /// no meaning: schemes of several rows without ID-Align, of what is no grid.
  MergedIds(const Scheme& scheme, const EncodedModel& model, const PictureSequence& sequence,
            const Compression& compression);

  /// float64 [rows, tokens] of one picture's tokens (ppe: [rows k, tokens], row r's k members one after the other).
  at::Tensor coordinates(const Members& members) const;
  /// cos and sin [1, heads or 1, tokens, channels].
  RotaryTable table(const Members& members) const;

 private:
  int64_t like(const std::vector<int64_t>& members) const;
  at::Tensor of_like(const Members& members) const;
  at::Tensor means(const Members& members) const;
  at::Tensor of_members(const Members& members) const;
  const at::Tensor& counted_through(int64_t tokens) const;

  Scheme scheme_;
  const PictureSequence& sequence_;
  Compression compression_;
  Frequencies frequencies_;
  PairLayout pairing_;
  bool takes_neighbour_ = false;                   // after, with ID-Align
  at::Tensor ids_;                                 // [rows, tokens] of the whole sequence
  at::Tensor pooled_ids_;                          // after, of pools
  mutable std::map<int64_t, at::Tensor> counted_;  // after: by number of tokens
};

}  // namespace ropescope::miniature
