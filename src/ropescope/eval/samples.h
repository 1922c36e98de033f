// samples.jsonl: one answer a line, appended as it comes; what a stopped run keeps, and what its answers come
// to.
//   {"record", "doc", "prompt", "output", "tokens", "extracted", "processed"?, "score", "error"?}
// Where a run asks every question in several ways, also {"scheme", "distractor_tokens"}, and for questions
// with pictures {"visual_share", "visual_tokens", "prompt_tokens"}. A failed item has an error and counts as
// an empty answer, until a resumed run has asked it again.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/evaluation.h"
#include "ropescope/eval/units.h"

namespace ropescope::eval {

/// How a question is asked, where a run asks it in several ways.
struct Condition {
  std::string scheme;             ///< empty: the run's own
  int64_t distractor_tokens = 0;  ///< of text between pictures and question
  auto operator<=>(const Condition&) const = default;
};

struct SampleKey {
  int64_t record = 0;
  Condition condition = {};
  auto operator<=>(const SampleKey&) const = default;
};

/// Appends to a file.
class Samples {
 public:
  /// With `resume` a line that was cut off and those of failed questions are removed, and done() knows the
  /// others; without it an existing file is an error. Throws UsageError, InputError.
  Samples(const std::filesystem::path& file, bool resume);
  ~Samples();
  Samples(const Samples&) = delete;
  Samples& operator=(const Samples&) = delete;

  bool done(const SampleKey& key) const;
  int64_t count() const;
  /// On disk (in the system's hands) when it returns.
  void append(const Json& sample);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The file of one of several processes; the only one writes samples.jsonl itself.
std::filesystem::path samples_file(const std::filesystem::path& folder, int64_t rank, int64_t world);

/// What any process of the run has answered so far; lines that are being written and failed questions do not
/// count.
std::set<SampleKey> answered(const std::filesystem::path& folder);

/// Whether processes of a run have left files of their own there.
bool has_rank_files(const std::filesystem::path& folder);

/// Puts the files of all processes into samples.jsonl, by record; of two lines for the same question an answer
/// wins over a failure, else the later one. So the file is the same after any number of processes. Returns its lines.
int64_t merge_samples(const std::filesystem::path& folder);

/// The line of an answer. `condition`: null where the run has only one.
Json make_sample(const Benchmark& benchmark, const Rules& rules, int64_t record, const Json& doc,
                 const Question& question, const Answer& answer, const Condition* condition = nullptr);

/// What the samples of one condition come to, in the order of the records, whatever order they were made in.
struct Scores {
  Json aggregates, details;      ///< of the benchmark's tally
  std::string aggregates_error;  ///< why there are none
  int64_t items = 0, failed = 0, generated_tokens = 0;
  int64_t no_answer = 0;        ///< Reading::unreadable
  int64_t undecided = 0;        ///< Reading::undecided, failed questions aside
  std::vector<Json> for_judge;  ///< the lines of judge.jsonl for these, of a run that asked in one way
  std::vector<Json> first;      ///< the lines of the kFirstAnswers lowest records
  std::vector<int64_t> records;
  std::vector<double> scores;
  std::vector<int64_t> tokens;
  std::vector<double> visual_share, uniform_share;  ///< NaN where it was not measured
  UnitScores units;
};
inline constexpr size_t kFirstAnswers = 3;
std::map<Condition, Scores> score_conditions(const std::filesystem::path& samples, const Benchmark& benchmark,
                                             const Rules& rules);
/// Of a run that asked in one way. Throws InputError for another.
Scores score_samples(const std::filesystem::path& samples, const Benchmark& benchmark, const Rules& rules);

}  // namespace ropescope::eval
