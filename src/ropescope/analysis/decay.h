// Decay curves: the mean inner product of query and key as a function of their distance, for every theta.
//   E(m) = sum_i A_i cos(m f_i) -+ B_i sin(m f_i)   (rope/decay_theory.h), linear in (A, B), so that samples
//   taken
// once, before rotation, serve every theta and every distance at O(head_dim) each.
// Notation  T thetas, D distances, L layers, H query heads, h = head_dim/2
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/io/result_file.h"
#include "ropescope/probe/samples.h"
#include "ropescope/rope/decay_theory.h"

namespace ropescope {

/// Which maps stand beside the mean: by_layer [T, L, D] and by_head [T, L, H, D]. kSmall: both, but by_head only up to
/// 64 MiB, with a note that says so.
enum class DecayKeep { kSmall, kMean, kLayers, kAll };

struct DecayOptions {
  std::vector<double> theta;  ///< bases; the checkpoint's context scaling (if any) is applied on top of each
  at::Tensor distance;        ///< [D] int64, >= 0
  DecaySign sign = DecaySign::kCausal;
  SampleSource source = SampleSource::kPairs;
  bool resampled = false;                         ///< samples were taken anew under each theta
  int64_t memory_limit_bytes = int64_t{2} << 30;  ///< of the result; larger maps are left out
  DecayKeep keep = DecayKeep::kSmall;
  std::string selection;  ///< which part of the samples the curves are of, in words; empty: all
};

/// Bands of log-frequency that curves are split into: band j holds channels floor(8 i / h) = j, so that each
/// has the same share of log-frequency and band 0 turns fastest.
constexpr int64_t kDecayBands = 8;

struct DecayResult {
  at::Tensor distance;  ///< [D] int64
  at::Tensor theta;     ///< [T] float64
  /// [T, D] float64: mean over pairs (or over heads of the moments' product), 95% interval (NaN where none
  /// can be given), standard deviation of single logits (undefined if unknown), and right-hand side of eq. 18
  /// for the overall mean coefficients.
  at::Tensor mean, ci95_low, ci95_high, std, abel_bound;
  at::Tensor normalised;  ///< [T, D] mean / mean |q||k|: a cosine, from -1 to 1; NaN if norms are unknown
  at::Tensor relative;    ///< [T, D] mean(m) / mean(0)
  at::Tensor band_contribution;  ///< [T, 8, D]: parts of `mean`, summing to it
  /// [T, 8, D]: (c(0) - c(m)) / (mean(0) - mean(m)), shares of the fall that sum to 1; NaN where nothing
  /// fell.
  at::Tensor band_share;
  at::Tensor band_frequency;  ///< [T, 8, 2] fastest and slowest angular frequency of each band, rad per token
  /// [T, L, D] and [T, L, H, D] float32; NaN where no pair fell; undefined when left out for their size.
  at::Tensor by_layer, by_layer_ci95_low, by_layer_ci95_high, by_head;
  /// [L, H, h] and [L, H]; with resampling those of the first theta, and [T, ...] in the _by_theta ones.
  at::Tensor coefficient_a, coefficient_b, count;
  at::Tensor coefficient_a_by_theta, coefficient_b_by_theta;
  int64_t clusters = 0;
  std::string interval;
  std::string sources;  ///< ModelFacts::sources of the samples
  DecayOptions options;
  std::vector<std::string> notes;  ///< what a reader of the curves should know, in sentences
};

/// The two sources weigh differently: drawn pairs weigh texts alike (the same number of each), moments weigh
/// tokens alike, so they part where long and short texts differ (a first token weighs more in a short text).
/// `runs`: one set of samples, or one for each theta when resampled. Throws UsageError (no theta, a distance
/// below 0), EnvironmentError when even the curves exceed the memory limit.
DecayResult compute_decay(const std::vector<Samples>& runs, const DecayOptions& options);

/// Writes /decay and its attributes.
void write_decay(ResultWriter& writer, const DecayResult& result);

/// `count` values from `low` to `high`, equally spaced in logarithm, both ends exact; those between are rounded to 12
/// significant digits, so that the 1e5 of 1e4:1e7:4 is 1e5.
std::vector<double> log_grid(double low, double high, int64_t count);

}  // namespace ropescope
