// A model's answers to a benchmark: what is asked, in which order, and the figure that the answers come to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
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
  std::vector<ClipPart> clips = {};
};

/// How the last token of a prompt attends.
struct VisualAttention {
  double share = 0;  ///< on visual tokens (newline tokens included), mean over layers and heads
  int64_t visual_tokens = 0, prompt_tokens = 0;
};

/// An answer, or why there is none.
struct Answer {
  std::string output;
  int64_t tokens = 0;  ///< generated
  std::string error = {};
  std::optional<VisualAttention> attention = {};
};

/// Questions that are asked together: all without pictures and clips, or all on the same ones.
using Batch = std::vector<int64_t>;

struct Plan {
  std::vector<Batch> batches;            ///< items
  std::vector<RejectedRecord> rejected;  ///< records that make no question
  int64_t questions = 0, with_pictures = 0, with_clips = 0;
};

struct PlanOptions {
  int64_t limit = 0;            ///< the first records only; 0: all
  int64_t batch_tokens = 2048;  ///< text tokens of a batch, padding included; a longer question is alone
  bool pictures = true;         ///< false: pictures and clips are left out
  bool pictures_first = false;  ///< refuse questions that name their pictures themselves
  std::function<int64_t(const std::string& prompt)> count_tokens;
};

/// Questions without pictures by length, longest first; those with pictures by picture, in the file's order.
/// The plan depends on the file and the options only.
Plan plan_questions(Records& records, const Benchmark& benchmark, const Rules& rules,
                    const PlanOptions& options);

/// The question of an item. Throws InputError as the benchmark's prompt does.
Question question_of(Records& records, const Benchmark& benchmark, const Rules& rules, int64_t item,
                     bool pictures);

/// The same, after the tests that can be made before anything is asked. Throws InputError also for a record of
/// another benchmark, one whose options are missing, and one without its answer or what its score is counted
/// under.
Question checked_question(Records& records, const Benchmark& benchmark, const Rules& rules, int64_t item,
                          bool pictures);

/// The figure of the papers' tables; none where the aggregates do not have it.
std::optional<double> headline_percent(const Benchmark& benchmark, const Json& aggregates);

}  // namespace ropescope::eval
