// The pieces that a study of attention is made of: an input under a scheme, with all text lengths. They may be measured
// apart, in other processes, and added up in their order.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ropescope/analysis/attention_study.h"
#include "ropescope/analysis/measured_rows.h"

namespace ropescope {

/// Of one input under one scheme.
struct AttentionOutcome {
  std::string input;  ///< name
  bool untrained_features = false;
  MeasuredRows::Outcome rows;
  std::vector<double> share, uniform;  ///< by text length: visual share, and under uniform attention
  double seconds = 0;
};

/// Into /outcome, exactly; for read_outcome.
void write_outcome(ResultWriter& writer, const AttentionOutcome& outcome);
/// Throws InputError for a file without one.
AttentionOutcome read_outcome(const ResultReader& reader);

class AttentionItems {
 public:
  /// All of them outlive this. Throws UsageError for layers or heads that are not there.
  AttentionItems(const Decoder& decoder, const AttentionInputs& inputs, const AttentionStudyOptions& options);

  /// Measures an input under some schemes (indices). Writes what belongs to the input, with the first scheme, and to these
  /// schemes of it alone. Passes of weights that are streamed share one reading.
  std::vector<AttentionOutcome> measure(int64_t input, const std::vector<size_t>& schemes,
                                        ResultWriter& writer);
  /// All of them, one after the other: by input, then by scheme.
  void add(int64_t input, size_t scheme, const AttentionOutcome& outcome);
  /// Writes what is over all inputs.
  AttentionResult finish(ResultWriter& writer);

 private:
  const AttentionInput& input(int64_t number);

  const Decoder& decoder_;
  const AttentionInputs& inputs_;
  const AttentionStudyOptions& options_;
  std::vector<int64_t> layers_, heads_;
  std::vector<Scheme> schemes_;
  std::vector<std::string> names_;
  std::optional<std::pair<int64_t, AttentionInput>> made_;  // the last one
  AttentionResult result_;
  std::vector<std::map<std::string, std::vector<double>>> values_;  // [scheme][name][input]
  std::vector<std::vector<std::vector<double>>> share_;             // [scheme][length][input]
  std::vector<std::vector<double>> uniform_;                        // [length][input]
};

}  // namespace ropescope
