// Answers that a harness gives to a judge model: handed over in one file, taken back in another. Which model judges is
// the user's choice; nothing here asks one.
//   judge.jsonl       {"record", "question": the text for the judge, "output": the answer that it is about}
//   the judge's own   {"record", "answer": the judge's reply, "output"?}
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/eval/benchmark.h"

namespace ropescope::eval {

/// How a figure is marked for which no judge was asked.
inline constexpr const char* kPrefetchOnly = "rule-based prefetch";

/// A line of the file for the judge.
Json judge_line(const Benchmark& benchmark, int64_t record, const Json& doc, const std::string& output,
                const Rules& rules);

/// Such lines as the file holds them.
std::string judge_text(const std::vector<Json>& lines);

/// A judge's replies by record.
class JudgeReplies {
 public:
  JudgeReplies() = default;
  /// Throws InputError for a file that cannot be read, a line that is no reply, and two replies for one record.
  explicit JudgeReplies(const std::filesystem::path& path);

  /// The reply for a record; none where there is none. Throws InputError where it is about another output.
  std::optional<std::string> find(int64_t record, const std::string& output) const;
  size_t size() const { return replies_.size(); }

 private:
  struct Reply {
    std::string answer;
    std::optional<std::string> output;
  };
  std::string name_;
  std::map<int64_t, Reply> replies_;
};

}  // namespace ropescope::eval
