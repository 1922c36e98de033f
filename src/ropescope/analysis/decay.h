// Decay curves: the mean inner product of query and key as a function of their distance, for every theta.
//   E(m) = sum_i A_i cos(m f_i) -+ B_i sin(m f_i)   (rope/decay_theory.h), linear in (A, B), so that samples taken
// once, before rotation, serve every theta and every distance at O(head_dim) each. Every layer is turned as the model
// turns it (decay_layers.h); layers that do not rotate give flat curves and are no part of the mean over layers.
// Notation  T columns (bases, or multiples of the layers' own), D distances, L layers, H query heads, K kinds of layers,
//           h = head_dim/2
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/decay_layers.h"
#include "ropescope/analysis/pope.h"
#include "ropescope/io/result_file.h"
#include "ropescope/probe/samples.h"
#include "ropescope/rope/decay_theory.h"

namespace ropescope {

/// Which maps stand beside the mean: by_layer [T, L, D] and by_head [T, L, H, D]. kSmall: both, but by_head only up to
/// 64 MiB, with a note that says so.
enum class DecayKeep { kSmall, kMean, kLayers, kAll };

struct DecayOptions : BaseColumns {
  at::Tensor distance;  ///< [D] int64, >= 0
  DecaySign sign = DecaySign::kCausal;
  SampleSource source = SampleSource::kPairs;
  bool resampled = false;                         ///< samples were taken anew under each theta
  int64_t memory_limit_bytes = int64_t{2} << 30;  ///< of the result; larger maps are left out
  DecayKeep keep = DecayKeep::kSmall;
  std::optional<PopeBias> pope;  ///< curves of PoPE in place of RoPE's
  std::string selection;         ///< which part of the samples the curves are of, in words; empty: all
};

/// Bands of log-frequency that curves are split into: band j holds channels floor(8 i / h) = j, so that each
/// has the same share of log-frequency and band 0 turns fastest.
constexpr int64_t kDecayBands = 8;

/// Layers of one encoding and one window.
struct DecayKind {
  std::string name, layers;       ///< "sliding", "0-4,6"
  int64_t window = 0, chunk = 0;  ///< 0: none
  bool rotates = true;
  int64_t count = 0, clusters = 0;  ///< pairs (or tokens, of moments) and texts behind its mean
};

/// Pairs of one kind, of texts with pictures: the kinds of the query's token and of the key's.
struct DecayTokens {
  std::string name;                 ///< "text_to_visual": the query is text
  at::Tensor mean, low, high;       ///< [T, D] float64: mean over the layers that rotate, 95% interval
  int64_t count = 0, clusters = 0;  ///< pairs and texts behind it
};

struct DecayResult {
  at::Tensor distance;  ///< [D] int64
  /// [T] float64: the base of each column, NaN where the layers' bases differ, and options.theta_scale.
  at::Tensor theta, theta_scale;
  /// [T, D] float64: mean over pairs (or over heads of the moments' product), 95% interval (NaN where none
  /// can be given), standard deviation of single logits (undefined if unknown), and right-hand side of eq. 18
  /// for the overall mean coefficients (where layers turn differently, the sum of the bounds of those that turn alike).
  /// Over the layers that rotate; NaN if there are none.
  at::Tensor mean, ci95_low, ci95_high, std, abel_bound;
  at::Tensor normalised;  ///< [T, D] mean / mean |q||k|: a cosine, from -1 to 1; NaN if norms are unknown
  at::Tensor relative;    ///< [T, D] mean(m) / mean(0)
  at::Tensor band_contribution;  ///< [T, 8, D]: parts of `mean`, summing to it
  /// [T, 8, D]: (c(0) - c(m)) / (mean(0) - mean(m)), shares of the fall that sum to 1; NaN where nothing
  /// fell.
  at::Tensor band_share;
  /// [T, 8, 2] fastest and slowest angular frequency of each band, rad per token; of the first layers that rotate.
  at::Tensor band_frequency;
  /// [T, L, D] and [T, L, H, D] float32; NaN where no pair fell; undefined when left out for their size.
  at::Tensor by_layer, by_layer_ci95_low, by_layer_ci95_high, by_head;
  /// [L, H, h] and [L, H]; with resampling those of the first theta, and [T, ...] in the _by_theta ones.
  at::Tensor coefficient_a, coefficient_b, count;
  at::Tensor coefficient_a_by_theta, coefficient_b_by_theta;
  std::vector<DecayKind> kinds;  ///< empty where the samples do not tell layers apart
  /// [T, K, D] float64: mean over the layers of each kind and its interval; [T, K]: base, NaN without rotation.
  at::Tensor kind_mean, kind_ci95_low, kind_ci95_high, kind_theta;
  std::vector<DecayTokens> tokens;  ///< empty where pairs are not told apart
  /// [L] mean norms of q and k as sampled, where layers normalise them after the rotation; else undefined.
  at::Tensor norm_q, norm_k;
  int64_t count_behind = 0;  ///< pairs (or, of moments, tokens times heads) behind every point of `mean`
  int64_t clusters = 0;
  std::string interval;
  std::string sources;  ///< ModelFacts::sources of the samples
  DecayOptions options;
  std::vector<std::string> notes;  ///< what a reader of the curves should know, in sentences
};

/// The two sources weigh differently: drawn pairs weigh texts alike (the same number of each), moments weigh
/// tokens alike, so they part where long and short texts differ (a first token weighs more in a short text).
/// `runs`: one set of samples, or one for each column when resampled; their facts say the checkpoint's own bases. Throws
/// UsageError (no theta known, a distance below 0), EnvironmentError when even the curves exceed the memory limit.
DecayResult compute_decay(const std::vector<Samples>& runs, const DecayOptions& options);

/// Writes /decay and its attributes.
void write_decay(ResultWriter& writer, const DecayResult& result);

/// `count` values from `low` to `high`, equally spaced in logarithm, both ends exact; those between are rounded to 12
/// significant digits, so that the 1e5 of 1e4:1e7:4 is 1e5.
std::vector<double> log_grid(double low, double high, int64_t count);

}  // namespace ropescope
