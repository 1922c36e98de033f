// Long contexts in ropescope evaluate: every question under several schemes, with texts of several lengths
// between pictures and question.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ropescope/eval/fading.h"
#include "ropescope/eval/long_context.h"
#include "ropescope/io/result_file.h"

#include "evaluate/evaluate_run.h"
#include "flags.h"

namespace ropescope::app::evaluate {

struct LongContext {
  std::vector<std::string> schemes;  ///< empty text: the model's own positions
  std::vector<int64_t> lengths;      ///< ascending, from 0
  eval::DistractorCorpus corpus;
};

/// --distractor, --text-lengths; --scheme may name several then.
struct LongContextFlags {
  std::optional<std::string> distractor;
  std::vector<int64_t> text_lengths;  ///< empty unless given

  void bind(Flags& flags);
  /// None where the flags ask for a plain run. `scheme` is --scheme, of which a plain run takes one. Throws
  /// UsageError, InputError.
  std::optional<LongContext> read(const std::optional<std::string>& scheme) const;
};

/// What makes two such runs the same run.
void add_settings(const LongContext& context, Json& settings);
/// Schemes one after another, each with growing texts, so that a text's keys serve the next longer one.
std::vector<Way> ways_of(const LongContext& context, const Tokenizer& tokenizer);

/// /long_context: text_lengths [L], scheme, and for each scheme figure/{percent, ci95_low, ci95_high, drop,
/// drop_low, drop_high, relative, units}, fading/{visual_share, ci95_low, ci95_high, uniform_share}, all [L],
/// and items/{score, visual_share} [L, N] for the N records of /evaluation/record.
void write_fading(ResultWriter& writer, const LongContext& context,
                  const std::vector<eval::FadingCurve>& curves,
                  const std::map<eval::Condition, eval::Scores>& scores);

void print_fading(const std::vector<eval::FadingCurve>& curves, bool csv);

}  // namespace ropescope::app::evaluate
