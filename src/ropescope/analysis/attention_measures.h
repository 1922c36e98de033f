// Numbers of attention rows. Of a row a over keys, n of them visible to its query:
//   visual_share     sum of a over visual tokens (newline tokens included); thumbnail_share, high_res_share:
//   over
//                    those of one kind. Uniform attention would give the share of visible keys,
//                    uniform_share.
//   sink_first       sum over the first four tokens of max(0, a - 1/n): mass above the uniform share
//   sink_visual      largest a on a single visual token, minus 1/n
//   entropy          -sum a ln a, nats
//   token_distance   mean |query - key| in tokens, weighted by a
//   id_distance      the same in position ids: the largest difference over the axes, with DIPE's anchors
// Of a row of a high-resolution token, on the thumbnail token that shows the same part of the picture, among
// the thumbnail tokens of its picture ("partner", as in prior.h):
//   partner_share    its share of their attention
//   partner_rank     its rank, 1 = first; ties take the middle
// (none where the thumbnail stands behind its tiles, which then do not see it)
//   hit_top<k>       1 where that rank is at most k: the alignment hit rate
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/probe/attention_input.h"
#include "ropescope/rope/encoding.h"

namespace ropescope {

/// Names in the order of the list above, with the alignment's behind.
std::vector<std::string> attention_measure_names(const std::vector<int64_t>& top_k);
/// Whether a measure is one of high-resolution tokens on their thumbnail.
bool is_alignment_measure(const std::string& name);

class AttentionMeasures {
 public:
  /// `places` of the layout's tokens; tokens behind them are text. `queries` of `tokens`; `visible`
  /// [queries]: number of keys that each may see.
  AttentionMeasures(const TokenPlaces& places, const SequenceEncoding& encoding, int64_t tokens,
                    const std::vector<int64_t>& queries, const std::vector<int64_t>& visible,
                    const std::vector<int64_t>& top_k);

  /// Values of rows [H, queries, tokens], each [H, queries] float64; NaN where a measure does not apply (a
  /// layout without visual tokens, a query without partner).
  std::map<std::string, at::Tensor> of(const at::Tensor& rows_HQS) const;

  /// What visual_share would be under uniform attention, [queries]. NaN without visual tokens.
  at::Tensor uniform_share() const;
  /// Text tokens between each query and the last visual token before it, [queries]; NaN for none, and for
  /// visual queries.
  at::Tensor text_distance() const;

 private:
  std::map<std::string, at::Tensor> of_head(const at::Tensor& rows_1QS) const;
  void add_alignment(const at::Tensor& rows_HQS, std::map<std::string, at::Tensor>& values) const;

  std::vector<int64_t> queries_, top_k_;
  at::Tensor visible_;                            // [Q] float64
  at::Tensor visual_, thumbnail_, high_;          // [S] float64 0/1
  at::Tensor token_distance_, id_distance_;       // [Q, S] float64
  std::vector<int64_t> partner_;                  // [Q], -1 none
  std::vector<std::vector<int64_t>> candidates_;  // thumbnail tokens of a block
  std::vector<int64_t> block_;                    // [Q]
  at::Tensor text_distance_;
};

/// Keys that each query may see under the encoding: causal, less what `attention_mask` ([1, T] or undefined)
/// hides, and the rings of CCA and PyPE (at layer 0).
std::vector<int64_t> visible_counts(const SequenceEncoding& encoding, const std::vector<int64_t>& queries,
                                    const at::Tensor& attention_mask);

}  // namespace ropescope
