// The whole measurement of `ropescope attention`: inputs x schemes (x text lengths), rows streamed into a
// result file layer by layer, numbers with intervals over inputs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/attention_drift.h"
#include "ropescope/analysis/attention_queries.h"
#include "ropescope/analysis/attention_sinks.h"
#include "ropescope/analysis/statistics.h"
#include "ropescope/io/result_file.h"
#include "ropescope/models/decoder.h"
#include "ropescope/probe/attention_input.h"

namespace ropescope {

/// Inputs are made when they are needed, so that one lies in memory.
struct AttentionInputs {
  int64_t count = 0;
  std::function<AttentionInput(int64_t)> make;
};

/// What of the rows a result file keeps beside the numbers.
enum class KeptRows {
  kAll,    ///< rows of every asked query
  kMeans,  ///< the mean row of each query set: enough for maps
  kNone
};
/// "rows", "means", "numbers". Throws UsageError.
KeptRows parse_kept_rows(const std::string& text);

struct AttentionStudyOptions {
  std::vector<std::string> schemes;
  QueryRequest queries;
  std::vector<int64_t> layers, heads;  ///< empty: all; ascending without repeats
  int64_t probe = 64;  ///< high-resolution tokens asked for their alignment, unless asked for anyway
  std::vector<int64_t> top_k = {1, 5};  ///< of the hit rates
  int64_t max_new_tokens = 0;           ///< generated greedily for the query set "generated"
  std::vector<int64_t> text_lengths;    ///< with them, the fading curve; ascending
  std::vector<int64_t> distractor;      ///< ids of at least the greatest of them
  KeptRows kept = KeptRows::kAll;
  std::optional<SinkOptions> sinks;  ///< measured where set
  std::optional<DriftOptions> drift;
  std::function<std::string(const std::vector<int64_t>&)> decode;  ///< text of ids
  std::function<void(const std::string& what)> progress;           ///< may be empty
  std::function<void()> layer_done;  ///< after each layer of each pass; may be empty
};

struct AttentionNumber {
  std::string name;
  MeanInterval over_inputs;      ///< of the inputs' means over queries, layers and heads
  std::vector<double> by_input;  ///< NaN where it does not apply
};

struct SchemeAttention {
  std::string scheme;
  std::vector<AttentionNumber> numbers;  ///< attention_measure_names; those of text from the asked queries
  std::vector<AttentionNumber> fading;   ///< visual share at each text length
  std::vector<double> uniform_share;     ///< beside it, under uniform attention
  std::vector<std::string> generated;    ///< text, one an input
  std::optional<SinkSummary> sinks;
  std::optional<DriftSummary> drift;
  double seconds = 0;

  const AttentionNumber& number(const std::string& name) const;
};

struct AttentionResult {
  std::vector<SchemeAttention> schemes;  ///< in the order of the options
  std::vector<std::string> inputs;       ///< names
  std::vector<std::string> query_sets;   ///< names of the first input's
  int64_t queries = 0, keys = 0;         ///< of the first input under the first scheme
  int64_t head_count = 0;                ///< layers x heads behind every mean
  bool untrained_features = false;
  std::string interval;  ///< how intervals were made
};

/// Writes /attention. A scheme's own group holds the first input's rows [layers, heads, queries, keys],
/// query_index, key_index, layer_index, head_index, sets/<name> (token indices), means/<name> [layers, heads,
/// keys] (the mean row of a set, in place of rows where only these are kept), and measures/<name> [layers,
/// heads, queries]; further inputs have the same in its groups input-1, input-2, ...; sinks and drift over all inputs stand
/// in the scheme's own group (attention_sinks.h, attention_drift.h). A `/` of the scheme's text is `_` there. Throws UsageError for what does not fit together, InputError, NumericsError.
AttentionResult study_attention(const Decoder& decoder, const AttentionInputs& inputs,
                                const AttentionStudyOptions& options, ResultWriter& writer);

/// "/attention/mrope_interleaved" of "mrope/interleaved".
std::string attention_group(const std::string& scheme);

}  // namespace ropescope
