// Benchmarks as VLMEvalKit has them (profile `vlmevalkit`): its tables, its prompts, its readings. A file of benchmarks/
// gives what is its own, and takes the rest from here.
#pragma once

#include <memory>

#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/letters.h"
#include "ropescope/eval/python_text.h"
#include "ropescope/eval/tallies.h"

namespace ropescope::eval {

/// Longest answer, tokens: what its API models are asked for.
inline constexpr int64_t kVlmEvalKitTokens = 2048;

/// Every benchmark of options there: "Hint: ", "Question: ", "Options:" and a request, as far as the record has them.
Json vlmevalkit_choice_prompt(const Json& doc, const Rules& rules);
/// The letter of an option in columns A to Z; undecided where no rule finds one.
Reading vlmevalkit_choice_reading(const Json& doc, const std::string& output, const Rules& rules);
Reading vlmevalkit_choice_judged(const Json& doc, const std::string& output, const std::string& reply,
                                 const Rules& rules);
std::string vlmevalkit_choice_question(const Json& doc, const std::string& output, const Rules& rules);

/// `base` read so, from a table with options in columns: its figure is the mean over all questions, beside the means of
/// its `split`, `category` and `l2-category`. `adopt` brings lmms-eval's columns into such a table; absent: it must be
/// one.
Benchmark vlmevalkit_choice_form(Benchmark base, void (*adopt)(Json& record));
/// The same with the base's own tally and units (circular groups, pairs).
Benchmark vlmevalkit_choice_reading_form(Benchmark base, void (*adopt)(Json& record));
/// Questions with yes or no, under the question's own words.
Benchmark vlmevalkit_yes_no_form(Benchmark base);
/// Adds `form` to `base` as what it is under the profile `vlmevalkit`.
Benchmark with_vlmevalkit(Benchmark base, Benchmark form);

/// The question and the request for a single word or phrase.
Json vlmevalkit_short_prompt(const Json& doc, const Rules& rules);
/// The question as it is.
Json vlmevalkit_bare_prompt(const Json& doc, const Rules& rules);

/// Of an answer by the harness's rule: without a letter a judge is asked, and Z chooses no option.
Reading vlmevalkit_letter_reading(std::optional<char32_t> letter, bool right);

/// A list of texts in `column` becomes columns A, B, C, ...; with `index` the number in `answer` becomes its letter.
void options_into_columns(Json& record, const char* column, bool index);

/// Means over all questions, and by columns of the table.
class ChoiceTally : public Tally {
 public:
  void add(const Json& doc, const Reading& reading) override;
  Json aggregates() const override;

 private:
  Mean overall_;
  Means splits_, categories_, l2_categories_;
};

}  // namespace ropescope::eval
