// Which tokens ask: sets of queries by name.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/probe/attention_input.h"

namespace ropescope {

/// What --queries, --region and --word say.
struct QueryRequest {
  bool last = false, text = false, generated = false, high = false;
  std::vector<int64_t> index;  ///< token indices
  std::optional<PixelRegion> region;
  std::optional<std::string> word;
};

/// "last", "text" (the question's tokens), "generated", "high" (every high-resolution token), token indices
/// and ranges; a list of these. Throws UsageError with the nearest name.
void parse_queries(const std::string& text, QueryRequest& request);

/// Queries of one name: token indices as they were asked for, the others ascending.
struct QuerySet {
  std::string name;  ///< last, text, generated, high, region, word, index, probe
  std::vector<int64_t> tokens;
};

/// `generated`: tokens behind the layout's. Sets that come to nothing (text of a prompt that ends with an
/// image) are a UsageError, and so are indices that are not there. `decode`: text of ids, for --word.
std::vector<QuerySet> choose_queries(const AttentionInput& input, const TokenPlaces& places,
                                     const QueryRequest& request, int64_t generated,
                                     const std::function<std::string(const std::vector<int64_t>&)>& decode);

/// At most `count` high-resolution tokens that have a thumbnail token, evenly spread.
QuerySet probe_queries(const TokenPlaces& places, int64_t count);

/// Token indices as they were asked for, repeated ones too, then the tokens of the other sets, each once, ascending.
std::vector<int64_t> asked_tokens(const std::vector<QuerySet>& sets);
/// The tokens of all sets, each once, ascending.
std::vector<int64_t> union_of(const std::vector<QuerySet>& sets);

}  // namespace ropescope
