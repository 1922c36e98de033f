// Two things that rotation may take from a query within a context of L tokens (after "RoPE distinguishes neither positions
// nor tokens in long contexts, provably", arXiv 2605.15514, which proves that both tend to chance, 1/2, as L grows):
//   near_preferred(L) = P[s(m) > s(n)],                        m < n: a near key scores more than a copy of it farther away
//   order_flips(L)    = P[sign(s(m) - s'(m)) != sign(s(n) - s'(n))], m != n: two keys k, k' at one place change their order
//                                                                          when both are moved to another
//   s(m) = sum_i A_i cos(m f_i) - B_i sin(m f_i),  s' likewise with k'    (rope/decay_theory.h; the key is m tokens earlier)
// over sampled pairs (q, k) and the distances m, n, uniform in 0..L-1. The paper calls 1 - near_preferred position inversion
// and order_flips token inversion; it compares with substantially farther copies, and so do even m < n: they lie L/3 apart on
// average. Its own draws of q and k are replaced by a model's. Equal scores count a half. Scores are neither divided by
// sqrt(head_dim) nor cut at a layer's window, which changes no order of two.
//   k' is the key of the next pair, in the samples' order and from the last on to the first, of the same text, layer and
// key/value head whose key is another vector; pairs without one count for near_preferred alone.
//   A pair's probability is exact: all m < n are counted by merging sorted runs, flips by the numbers of signs, at
// O(L (head_dim + log L)) a pair. Beyond `points` distances, `points` of them stand for all (score_order.h), each drawn from
// its part of 0..L-1. Every text has a draw of its own, so that intervals over texts hold the draws' error too. m and n of one
// part are never compared then: these are 1/points of all.
//   Layers that do not rotate have near_preferred 1/2 and order_flips 0, and are no part of the mean over layers.
// Notation  T columns (bases, or multiples of the layers' own), N lengths, L layers, H query heads, K kinds of layers
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/decay.h"
#include "ropescope/analysis/decay_layers.h"
#include "ropescope/io/result_file.h"
#include "ropescope/probe/samples.h"

namespace ropescope {

struct LocalityOptions : BaseColumns {
  std::vector<int64_t> lengths;  ///< tokens, ascending, each from 2 to kLongestContext
  int64_t points = 4096;         ///< distances counted at each length; 0: all
  uint64_t seed = 0;             ///< of the distances, where they are drawn
  std::string selection;         ///< which part of the samples it is of, in words; empty: all
};

constexpr int64_t kLongestContext = 10'000'000;

/// One of the two probabilities. Intervals are 95%, cluster-robust over texts, cut at 0 and 1; NaN where none can be given.
struct LocalityShare {
  at::Tensor mean, low, high;  ///< [T, N] float64, over the layers that rotate; NaN if there are none
  at::Tensor layer_mean, layer_low, layer_high;  ///< [T, N, L] float64; NaN where no pair fell
  at::Tensor head_mean;                          ///< [T, N, L, H] float64
  at::Tensor kind_mean, kind_low, kind_high;     ///< [T, N, K] float64
  /// [T] and [T, K] float64: the smallest length whose interval reaches 1/2, where it is at the latest by then (near: its
  /// lower end is at 1/2 or below; flips: its upper end is there or above); NaN where none does.
  at::Tensor half_length, kind_half_length;
  at::Tensor count;                 ///< [L, H] int64: pairs behind each head
  int64_t pairs = 0, clusters = 0;  ///< pairs and texts behind `mean`
};

struct LocalityResult {
  at::Tensor length;              ///< [N] int64
  at::Tensor points;              ///< [N] int64: distances counted
  at::Tensor theta, theta_scale;  ///< [T] float64, as in DecayResult
  LocalityShare near, order;
  std::vector<DecayKind>
      kinds;              ///< empty where the samples do not tell layers apart; counts are those of `near`
  at::Tensor kind_theta;  ///< [T, K] float64: base, NaN without rotation
  std::string interval;
  std::string sources;  ///< ModelFacts::sources of the samples
  LocalityOptions options;
  std::vector<std::string> notes;  ///< what a reader should know, in sentences
};

/// Throws UsageError (no theta known, a length or number of points out of range).
LocalityResult compute_locality(const Samples& run, const LocalityOptions& options);

/// Of each pair the place of the pair whose key is its k'; -1: none. [pairs] int64.
at::Tensor second_keys(const Samples& run);

/// Writes /locality and its attributes.
void write_locality(ResultWriter& writer, const LocalityResult& result);

}  // namespace ropescope
