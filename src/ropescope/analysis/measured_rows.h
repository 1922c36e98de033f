// Attention rows of one input under one scheme: what is asked of a pass, what is kept of its rows, and the numbers.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/attention_measures.h"
#include "ropescope/analysis/attention_queries.h"
#include "ropescope/analysis/attention_study.h"
#include "ropescope/io/result_file.h"
#include "ropescope/models/forward_run.h"
#include "ropescope/rope/encoding.h"

namespace ropescope {

/// What all passes of a study share; it outlives them.
struct AttentionStudy {
  const Decoder& decoder;
  const AttentionStudyOptions& options;
  const std::vector<int64_t>&layers, &heads;  ///< of the model; ascending
  ResultWriter& writer;
};

/// The object stays where it is from begin() to the end of the run.
class MeasuredRows {
 public:
  struct Outcome {
    std::map<std::string, double> means;
    std::string generated;
    std::vector<QuerySet> sets;
    int64_t queries = 0, keys = 0;
    double uniform_share = 0;  ///< visual_share of the asked queries under uniform attention
    std::optional<SinkSample> sinks;
    std::optional<DriftSample> drift;
  };

  /// The asked queries of the number-th input: rows and measures go into `group`. Generates first where that is asked for.
  MeasuredRows(const AttentionStudy& study, const AttentionInput& prompt, const Scheme& scheme,
               const std::string& group, int64_t number);
  /// The visual share of the queries of `sets` alone, with `distractor` tokens of text behind the last image.
  MeasuredRows(const AttentionStudy& study, const AttentionInput& prompt, const Scheme& scheme,
               const std::vector<QuerySet>& sets, int64_t distractor);
  MeasuredRows(const MeasuredRows&) = delete;
  MeasuredRows& operator=(const MeasuredRows&) = delete;

  const std::vector<QuerySet>& sets() const { return outcome_.sets; }
  /// The pass, which ends with the last layer that is asked for.
  std::unique_ptr<ForwardRun> begin();
  /// After the pass. Writes what belongs to it as a whole.
  Outcome end();
  double visual_share() const;
  double uniform_share() const;

 private:
  void take(const at::Tensor& rows_HQS);
  void keep(const at::Tensor& rows_HQS);
  void look_at_pictures(const Scheme& scheme, const TokenPlaces& places, int64_t number);
  std::vector<bool> wanted_layers() const;
  at::Tensor chosen_heads(const at::Tensor& rows_HQS) const;
  void measure_queries(const TokenPlaces& places, const std::vector<int64_t>& top_k);

  const AttentionStudy study_;
  std::string group_;  // empty: the visual share only
  AttentionInput input_;
  std::optional<SequenceEncoding> encoding_;
  std::vector<int64_t> queries_,
      asked_;  // ascending; those of them that were asked for, in the order of asking
  std::optional<AttentionMeasures> measures_;
  std::optional<SinkRows> sinks_;
  std::optional<DriftRows> drift_;
  std::map<std::string, at::Tensor> values_;  // [layers, heads, queries] float64
  int64_t slot_ = 0;                          // layers so far
  double share_ = 0;
  Outcome outcome_;
};

}  // namespace ropescope
