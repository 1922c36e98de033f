// A model's answers to a benchmark: what is asked in which order, what is kept of each answer, and how a run
// goes on after it was stopped.
//   DIR/run.json       what the run is; a resumed run must be the same
//   DIR/samples.jsonl  one answer a line, appended as it comes
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/records.h"

namespace ropescope::eval {

struct Question {
  int64_t item = 0;  ///< place in the records
  std::string prompt;
  std::vector<std::string> pictures;  ///< keys
  int64_t tokens = 0;                 ///< of the text
};

/// An answer, or why there is none.
struct Answer {
  std::string output;
  int64_t tokens = 0;  ///< generated
  std::string error;
};

/// Questions that are asked together: all without pictures, or all on the same ones.
using Batch = std::vector<int64_t>;

struct Plan {
  std::vector<Batch> batches;            ///< items
  std::vector<RejectedRecord> rejected;  ///< records that make no question
  int64_t questions = 0, with_pictures = 0;
};

struct PlanOptions {
  int64_t limit = 0;            ///< the first records only; 0: all
  int64_t batch_tokens = 2048;  ///< text tokens of a batch, padding included; a longer question is alone
  bool pictures = true;         ///< false: pictures are left out
  std::function<int64_t(const std::string& prompt)> count_tokens;
};

/// Questions without pictures by length, longest first; those with pictures by picture, in the file's order.
/// The plan depends on the file and the options only.
Plan plan_questions(Records& records, const Benchmark& benchmark, const Rules& rules,
                    const PlanOptions& options);

/// The question of an item. Throws InputError as the benchmark's prompt does.
Question question_of(Records& records, const Benchmark& benchmark, const Rules& rules, int64_t item,
                     bool pictures);

/// samples.jsonl: {"record", "doc", "prompt", "output", "tokens", "extracted", "processed"?, "score",
/// "error"?}. A failed item has an error and counts as an empty answer.
class Samples {
 public:
  /// Opens the file to append. With `resume` a line that was cut off is removed and done() knows the others;
  /// without it an existing file is an error. Throws UsageError, InputError.
  Samples(const std::filesystem::path& file, bool resume);
  ~Samples();
  Samples(const Samples&) = delete;
  Samples& operator=(const Samples&) = delete;

  bool done(int64_t record) const;
  int64_t count() const;
  /// On disk (in the system's hands) when it returns.
  void append(const Json& sample);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The file of one of several processes; the only one writes samples.jsonl itself.
std::filesystem::path samples_file(const std::filesystem::path& folder, int64_t rank, int64_t world);

/// Records that any process of the run has answered so far; lines that are being written do not count.
std::set<int64_t> answered_records(const std::filesystem::path& folder);

/// Puts the files of all processes into samples.jsonl, by record. Nothing to do without such files.
void merge_samples(const std::filesystem::path& folder);

/// The line of an answer.
Json make_sample(const Benchmark& benchmark, const Rules& rules, int64_t record, const Json& doc,
                 const Question& question, const Answer& answer);

/// What the samples come to, in the order of the records, whatever order they were made in.
struct Scores {
  Json aggregates;
  std::string aggregates_error;  ///< why there are none
  int64_t items = 0, failed = 0, no_answer = 0, generated_tokens = 0;
  std::vector<int64_t> records;
  std::vector<double> scores;
  std::vector<int64_t> tokens;
};
Scores score_samples(const std::filesystem::path& samples, const Benchmark& benchmark, const Rules& rules);

/// The figure of the papers' tables; none where the aggregates do not have it.
std::optional<double> headline_percent(const Benchmark& benchmark, const Json& aggregates);

}  // namespace ropescope::eval
