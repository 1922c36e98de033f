// A run of ropescope evaluate: its folder, its questions and the ways to ask them, shared among processes.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/unfinished.h"
#include "ropescope/eval/answerer.h"
#include "ropescope/eval/samples.h"
#include "ropescope/train/work_deal.h"

namespace ropescope::app::evaluate {

/// One way to ask every question, and its name among the samples.
struct Way {
  eval::Condition condition;
  eval::Manner manner;
};

struct EvaluateRun {
  DealtWork& work;
  std::filesystem::path folder;
  const eval::Benchmark& benchmark;
  eval::Rules rules;
  std::unique_ptr<eval::Records> records;
  eval::Plan plan = {};
  bool pictures = true;
  std::vector<Way> ways = {};
  bool named_ways = false;  ///< the run compares ways, and its samples name theirs

  int64_t samples() const { return plan.questions * static_cast<int64_t>(ways.size()); }
};

/// The folder of a run, from before anything is loaded until the run begins. A folder that was made for a run
/// that never began is taken away again.
class RunFolder {
 public:
  /// Makes the folder. Throws EnvironmentError if it cannot be written, UsageError if there are answers of a run
  /// in it and neither `resume` nor `force` is given. Of several processes only the one that leads touches the folder.
  RunFolder(std::filesystem::path folder, bool resume, bool force, bool leads);

  /// Throws UsageError, with both values, where a run that is resumed was made with other settings. `settings`
  /// may still be without its "model_files".
  void check(const Json& settings) const;
  /// Writes run.json, or finds the run to go on with (after check()), whatever number of processes made it.
  void begin(const Json& settings);

 private:
  bool goes_on() const;

  std::filesystem::path folder_;
  bool resume_, leads_;
  std::optional<OutputFolder> made_;
};

/// Asks what is not answered yet, batch by batch as they are dealt to this process; returns how many samples it made. The
/// process that leads returns when all are answered, and its samples.jsonl has all answers by record. `settings`: those of
/// run.json.
int64_t ask(EvaluateRun& run, eval::Answerer& answerer, const Json& settings);

/// Records that made no question.
std::vector<eval::RejectedRecord> rejected_records(const EvaluateRun& run);

}  // namespace ropescope::app::evaluate
