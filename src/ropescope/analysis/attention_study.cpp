#include "ropescope/analysis/attention_study.h"

#include <numeric>

#include "ropescope/analysis/attention_items.h"
#include "ropescope/analysis/figures_prior.h"
#include "ropescope/core/errors.h"

namespace ropescope {

const AttentionNumber& SchemeAttention::number(const std::string& name) const {
  for (const AttentionNumber& one : numbers) {
    if (one.name == name) return one;
  }
  throw InternalError("attention: no number \"{}\"", name);
}

KeptRows parse_kept_rows(const std::string& text) {
  if (text == "rows") return KeptRows::kAll;
  if (text == "means") return KeptRows::kMeans;
  if (text == "numbers") return KeptRows::kNone;
  throw UsageError("--keep: expected rows, means or numbers, found \"{}\"", text);
}

std::string attention_group(const std::string& scheme) { return scheme_group("/attention", scheme); }

AttentionResult study_attention(const Decoder& decoder, const AttentionInputs& inputs,
                                const AttentionStudyOptions& options, ResultWriter& writer) {
  AttentionItems items(decoder, inputs, options);
  std::vector<size_t> schemes(options.schemes.size());
  std::iota(schemes.begin(), schemes.end(), size_t{0});
  for (int64_t input = 0; input < inputs.count; ++input) {
    const std::vector<AttentionOutcome> outcomes = items.measure(input, schemes, writer);
    for (const size_t s : schemes) items.add(input, s, outcomes[s]);
  }
  return items.finish(writer);
}

}  // namespace ropescope
