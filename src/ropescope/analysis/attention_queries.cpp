#include "ropescope/analysis/attention_queries.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <sstream>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/core/numbers.h"

namespace ropescope {

namespace {

constexpr int64_t kMostIndices = int64_t{1} << 20;

void add_indices(const std::string& part, std::vector<int64_t>& index) {
  const size_t dash = part.find('-');
  const auto first = parse_whole_number(part.substr(0, dash));
  const auto last = dash == std::string::npos ? first : parse_whole_number(part.substr(dash + 1));
  if (!first || !last || *last < *first || *last - *first >= kMostIndices) {
    const std::vector<std::string> known = {"last", "text", "generated", "high"};
    const std::string near = nearest_name(part, known);
    throw UsageError(
        "--queries: expected last, text, generated, high or token indices like 5,10-12, found \"{}\"{}", part,
        near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
  }
  for (int64_t token = *first; token <= *last; ++token) index.push_back(token);
}

std::vector<int64_t> run_of(int64_t first, int64_t count) {
  std::vector<int64_t> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

}  // namespace

void parse_queries(const std::string& text, QueryRequest& request) {
  std::stringstream stream(text);
  bool any = false;
  for (std::string part; std::getline(stream, part, ',');) {
    any = true;
    if (part == "last") {
      request.last = true;
    } else if (part == "text") {
      request.text = true;
    } else if (part == "generated") {
      request.generated = true;
    } else if (part == "high") {
      request.high = true;
    } else {
      add_indices(part, request.index);
    }
  }
  if (!any)
    throw UsageError("--queries: expected last, text, generated, high or token indices, found nothing");
}

std::vector<QuerySet> choose_queries(const AttentionInput& input, const TokenPlaces& places,
                                     const QueryRequest& request, int64_t generated,
                                     const std::function<std::string(const std::vector<int64_t>&)>& decode) {
  const int64_t prompt = input.layout.tokens(), tokens = prompt + generated;
  std::vector<QuerySet> sets;
  if (request.last) sets.push_back({"last", {prompt - 1}});
  if (request.text) {
    if (input.question_tokens == 0) {
      throw UsageError("--queries text: the prompt ends with an image, so no text asks");
    }
    sets.push_back({"text", run_of(input.question_first, input.question_tokens)});
  }
  if (request.generated) sets.push_back({"generated", run_of(prompt, generated)});
  if (request.high) {
    sets.push_back(probe_queries(places, places.tokens()));
    sets.back().name = "high";
    if (sets.back().tokens.empty()) {
      throw UsageError("--queries high: the layout has no high-resolution tokens ({})",
                       layout_text(input.layout));
    }
  }
  if (!request.index.empty()) {
    const std::set<int64_t> distinct(request.index.begin(), request.index.end());
    if (*distinct.rbegin() >= tokens) {
      throw UsageError("--queries: expected tokens 0 to {}, found {}", tokens - 1, *distinct.rbegin());
    }
    sets.push_back({"index", request.index});
  }
  if (request.region) sets.push_back({"region", region_tokens(input, places, *request.region)});
  if (request.word) sets.push_back({"word", word_tokens(input, *request.word, decode)});
  return sets;
}

QuerySet probe_queries(const TokenPlaces& places, int64_t count) {
  std::vector<int64_t> all;
  for (int64_t token = 0; token < places.tokens(); ++token) {
    if (places.partner[static_cast<size_t>(token)] >= 0) all.push_back(token);
  }
  QuerySet set{"probe", {}};
  const auto total = static_cast<int64_t>(all.size());
  const int64_t taken = std::min(count, total);
  // The middle of each of `taken` equal stretches: neither the first row nor the last column is favoured.
  for (int64_t i = 0; i < taken; ++i)
    set.tokens.push_back(all[static_cast<size_t>((2 * i + 1) * total / (2 * taken))]);
  return set;
}

std::vector<int64_t> asked_tokens(const std::vector<QuerySet>& sets) {
  std::vector<int64_t> tokens;
  for (const QuerySet& set : sets) {
    if (set.name == "index") tokens = set.tokens;
  }
  const std::set<int64_t> seen(tokens.begin(), tokens.end());
  for (const int64_t token : union_of(sets)) {
    if (seen.count(token) == 0) tokens.push_back(token);
  }
  return tokens;
}

std::vector<int64_t> union_of(const std::vector<QuerySet>& sets) {
  std::set<int64_t> tokens;
  for (const QuerySet& set : sets) tokens.insert(set.tokens.begin(), set.tokens.end());
  return {tokens.begin(), tokens.end()};
}

}  // namespace ropescope
