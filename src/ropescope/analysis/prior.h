// Prior attention: where a model's heads would look before they see any content, given only the mean query
// and the mean key that each head has over real text (`ropescope sample --moments`).
//
// Expected logit of query token i and key token j under a scheme, of one head (q and k independent):
//   E_ij = mean_q^T R(p_i)^T R(p_j) mean_k
//        = s^2 sum_c A_c cos(d_c f_c) - B_c sin(d_c f_c) + r,      d_c = (p_i - p_j) on the axis of channel c
// in closed form, float64, O(keys x head_dim) for a query. p_i are DIPE's anchored ids where i and j differ
// in modality; channels without an axis do not turn; PyPE's ids are those of the head's layer; CCA and PyPE
// hide keys by their ring masks; ALiBi adds its bias, here times sqrt(head_dim), so that E_ij /
// sqrt(head_dim) is the score in every scheme.
//
// Prior attention is the softmax of expected scores,  a_ij = exp(E_ij / sqrt(head_dim)) / sum over the n_i
// keys that i may see. It is not the expected attention: the mean of a softmax also depends on how logits
// scatter around their mean (each key's weight is e^(variance/2) larger if they scatter normally), which
// content decides, not the position encoding.
//
// Where the samples say it of each layer, every head is turned as its layer turns it, in place of sqrt(head_dim) stands
// the layer's scale of scores, and keys outside of its window or chunk are hidden. What a layer adds beside that (sinks,
// caps of scores, scales of queries by position) is left out.
//
// Numbers of a head, then averaged over the heads that were measured and chosen:
//   visual_share   V = sum of a_ij over visual keys j; the fading curve is V with t more text tokens between
//   the
//                  image and the query. Uniform attention would give its share of keys, `uniform_share`.
//   partner_logit  from high-resolution tokens to their own thumbnail token: score of the pair minus the
//   score
//                  at displacement 0; 0 if the scheme makes partners neighbours without distance.
//   partner_share  share of that thumbnail token in the attention on all thumbnail tokens; uniform 1/(H0 W0).
//   partner_rank   its rank among them, 1 = first; ties take the middle.
//   sink_first     sum over the first four tokens of max(0, a_ij - 1/n_i): mass above the uniform share.
//   sink_visual    max over visual keys of a_ij, minus 1/n_i.
// The partner's numbers are those of the query if it is a high-resolution token, else the mean over a 4 x 4
// grid of high-resolution tokens; NaN where the thumbnail comes after its tiles, which then cannot see it.
//
// Intervals (95%): where the samples hold moments of single texts, a delete-one-text jackknife of first order
// (every number's gradient with respect to A, B, r times their change), Student t with texts - 1 degrees of
// freedom; partner_rank, and everything where a file has no such moments, by the spread over layers and
// heads.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/prior_geometry.h"
#include "ropescope/io/result_file.h"
#include "ropescope/probe/samples.h"
#include "ropescope/rope/scheme.h"

namespace ropescope {

struct PriorOptions {
  PriorQuery query;
  std::vector<int64_t> text_lengths = {0, 1024, 2048, 4096, 8192, 16384, 32768};  ///< ascending
  /// Unset: the samples'. Where these say it of each layer, its base alone is taken, by every layer that rotates.
  std::optional<RopeConfig> rope;
  std::vector<int64_t> layers, heads;  ///< empty: all
  bool by_head = false;                ///< keep the maps of every head
};

/// One number of the table. NaN where it does not apply (a layout without thumbnail) or has no interval.
struct PriorNumber {
  std::string name;
  double mean = 0, ci95_low = 0, ci95_high = 0;
  at::Tensor by_head;  ///< [layers, heads], NaN where not measured or not chosen
};

/// K tokens of the layout, L layers and H query heads of the model, T text lengths. Means are over the
/// measured heads; keys that the query may not see have logit NaN and attention 0.
struct SchemePrior {
  std::string scheme;
  int64_t query = 0;
  at::Tensor logits, attention;                    ///< [K] float64
  at::Tensor logits_by_layer, attention_by_layer;  ///< [L, K]
  at::Tensor logits_by_head, attention_by_head;    ///< [L, H, K] float32; undefined unless asked for
  std::vector<PriorNumber> numbers;                ///< in the order of the list above
  std::vector<PriorNumber> fading;                 ///< visual share at each text length
  std::vector<double> uniform_share;               ///< [T]
  double seconds = 0;

  const PriorNumber& number(const std::string& name) const;
};

struct PriorResult {
  PriorOptions options;
  Layout layout;
  RopeConfig rope;   ///< of the first chosen layers that rotate
  double theta = 0;  ///< the base of all chosen layers; NaN where they differ or none rotates
  std::string
      layers;  ///< "sliding: layers 0-4; full: layers 5"; empty where the samples do not tell layers apart
  std::vector<SchemePrior> schemes;  ///< best first: by visual share at text_lengths[ordered_by]
  /// The greatest text length with which the layout stays inside the model's trained context (the greatest of
  /// all where the context is unknown or too short for the layout): beyond it, logits are extrapolations.
  size_t ordered_by = 0;
  int64_t trained_context = 0;  ///< tokens; 0: unknown
  std::string interval;         ///< how intervals were made
  int64_t head_count = 0;       ///< heads behind every mean
};

/// Throws UsageError (a scheme that does not fit the model or the layout, a query outside it, no rope_theta
/// anywhere, schemes that repeat), InputError (moments that do not fit together).
PriorResult compute_prior(const Samples& samples, const Layout& layout,
                          const std::vector<std::string>& schemes, const PriorOptions& options);

/// Writes /prior: see the attributes there for what each dataset holds.
void write_prior(ResultWriter& writer, const PriorResult& result);

}  // namespace ropescope
