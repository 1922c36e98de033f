// ropescope score: reads answers as a benchmark's harness does, and aggregates them.
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"
#include "ropescope/core/strings.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/judge.h"
#include "ropescope/eval/reasoning.h"
#include "ropescope/eval/records.h"

#include "command.h"
#include "evaluate/evaluation_flags.h"
#include "evaluate/score_check.h"

namespace ropescope::app {

namespace score {

namespace {

struct ScoreFlags {
  std::string items, data, judge, to_judge;  // empty: not given
  bool check = false;
  ScoringFlags scoring;

  void bind(Flags& flags) {
    flags.group("Input");
    flags.add("items", items,
              "one JSON object a line: {\"doc\": the record's columns, \"output\": the model's answer}");
    flags.add("data", data, "with --check: the benchmark's file, .tsv or .jsonl (mmbench: .tsv)");
    flags.add("judge", judge,
              "replies of a judge model to a file of --to-judge (or a run's judge.jsonl), for answers that "
              "the rules leave undecided");
    flags.add("to-judge", to_judge,
              "file to write for a judge model: a question about each undecided answer");
    flags.add("check", check, "only read the file of --data: what is accepted, what is rejected and why");
    scoring.bind(flags);
  }
};

/// What becomes of the items, beside their lines.
struct Scoring {
  const eval::Benchmark& benchmark;
  eval::Rules rules;
  bool judges;  ///< --judge or --to-judge
  eval::JudgeReplies replies;
  std::unique_ptr<eval::Tally> tally;
  std::set<int64_t> seen = {};  ///< records, where judges know answers by them
  std::vector<Json> for_judge = {};
  int64_t scored = 0, rejected = 0, unreadable = 0, undecided = 0, judged = 0;
};

Json score_line(Scoring& scoring, const std::string& line, int64_t number, const std::string& where) {
  const eval::Benchmark& benchmark = scoring.benchmark;
  const Json object = eval::parse_record(line, where);
  if (!object.is_object() || !object.contains("doc") || !object["doc"].is_object()) {
    throw InputError("expected an object with \"doc\" and \"output\"");
  }
  const Json doc = eval::own_columns(benchmark, object["doc"]);
  if (!benchmark.scores_any_options) eval::check_doc(benchmark, doc);
  const std::string output = json_string(object, "output", "item");
  // A run's samples know their record; other items are known by their line.
  const bool named = object.contains("record") && object["record"].is_number_integer();
  const int64_t record = named ? object["record"].get<int64_t>() : number;
  if (scoring.judges && !scoring.seen.insert(record).second) {
    throw UsageError(
        "{}: a second answer to record {}, and a judge's replies are known by record. Try: the answers of one way of asking at "
        "a time",
        where, record);
  }
  const std::optional<std::string> reply = scoring.replies.find(record, output);
  Json result = {{"prompt", benchmark.prompt(doc, scoring.rules)}};
  eval::Reading reading = eval::read_answer(benchmark, doc, output, scoring.rules);
  const bool judged = reading.undecided && reply;
  if (judged) reading = eval::read_answer(benchmark, doc, output, scoring.rules, reply);
  result["extracted"] = reading.extracted;
  if (reading.processed) result["processed"] = *reading.processed;
  result["score"] = reading.score;
  scoring.tally->add(doc, reading);
  scoring.unreadable += reading.unreadable ? 1 : 0;
  scoring.judged += judged ? 1 : 0;
  if (!reading.undecided) return result;
  result["undecided"] = true;
  ++scoring.undecided;
  if (benchmark.judge.question != nullptr) {
    scoring.for_judge.push_back(eval::judge_line(benchmark, record, doc, output, scoring.rules));
  }
  return result;
}

/// Aggregates and counts.
Json summary_of(const Scoring& scoring) {
  Json summary = {{"aggregates", scoring.tally->aggregates()},
                  {"items", scoring.scored + scoring.rejected},
                  {"rejected", scoring.rejected},
                  {"unreadable", scoring.unreadable}};
  if (scoring.benchmark.judge.question == nullptr) return summary;
  summary["judge"] = {{"figure", scoring.judged > 0 ? "judged" : eval::kPrefetchOnly},
                      {"judged", scoring.judged},
                      {"undecided", scoring.undecided}};
  return summary;
}

void print_text(const Scoring& scoring, const Json& summary) {
  fmt::print("{}, {} rejected, {} unreadable, profile {}{}\n", counted(scoring.scored, "item"),
             scoring.rejected, scoring.unreadable, eval::profile_name(scoring.rules.profile),
             scoring.benchmark.has_policy ? ", policy " + eval::policy_name(scoring.rules.policy) : "");
  if (summary.contains("judge")) {
    fmt::print("{}: {} judged, {} undecided, which count as wrong\n",
               summary["judge"]["figure"].get<std::string>(), scoring.judged, scoring.undecided);
  }
  fmt::print("{}\n", summary["aggregates"].dump(2));
}

int score_items(Scoring& scoring, const std::string& path, const std::string& to_judge,
                const CommonSettings& settings) {
  std::optional<AtomicFile> for_judge;  // (a file that is there already is refused before anything is scored)
  if (!to_judge.empty()) for_judge.emplace(to_judge, settings.force);
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw InputError("--items {}: cannot be read", path);
  int64_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    Json result;
    try {
      result = score_line(scoring, line, number, where);
      ++scoring.scored;
    } catch (const InputError& error) {
      // A broken record costs itself only; the others count without it.
      log_warning("{}: {}", where, error.what());
      result = {{"error", error.what()}};
      ++scoring.rejected;
    }
    if (settings.json) print_line(result);
  }
  if (stream.bad()) throw InputError("--items {}: reading failed after line {}", path, number);
  const Json summary = summary_of(scoring);
  if (for_judge) {
    write_text_durably(for_judge->temporary_path(), eval::judge_text(scoring.for_judge));
    for_judge->commit();
  }
  if (settings.json) {
    print_line(summary);
  } else {
    print_text(scoring, summary);
  }
  if (std::fflush(stdout) != 0) throw EnvironmentError("stdout: writing failed");
  if (scoring.rejected == 0) return 0;
  throw InputError("--items {}: {} of {} records could not be scored", path, scoring.rejected,
                   scoring.scored + scoring.rejected);
}

int run(const ScoreFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  const eval::Benchmark& benchmark = flags.scoring.chosen();
  if (settings.csv) throw UsageError("--csv: score prints text or --json");
  if (flags.check) {
    const std::string& data = required_text(flags.data, "data");
    const bool table = std::filesystem::path(data).extension() != ".jsonl";
    return eval::is_mmbench(benchmark) && table
               ? check_mmbench(data, settings.json)
               : check_records(data, benchmark, flags.scoring.rules(), settings.json);
  }
  if (!flags.data.empty()) throw UsageError("--data: expected --check with it");
  const eval::Rules rules = flags.scoring.rules();
  if (benchmark.judge.question == nullptr && !(flags.judge.empty() && flags.to_judge.empty())) {
    throw UsageError("--{}: no judge reads {} under the profile {}",
                     flags.judge.empty() ? "to-judge" : "judge", benchmark.name,
                     eval::profile_name(rules.profile));
  }
  Scoring scoring{benchmark, rules, !flags.judge.empty() || !flags.to_judge.empty(),
                  flags.judge.empty() ? eval::JudgeReplies() : eval::JudgeReplies(flags.judge),
                  benchmark.tally(rules)};
  return score_items(scoring, required_text(flags.items, "items"), flags.to_judge, settings);
}

}  // namespace

}  // namespace score

extern const Command kScore;
const Command kScore = make_command<score::ScoreFlags>(
    "score", "Reads a benchmark's answers as its harness does and scores them.",
    "ropescope score --benchmark mmbench --items answers.jsonl --json", kJson | kWrites, score::run);

}  // namespace ropescope::app
