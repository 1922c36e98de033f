// ropescope score: reads answers as a benchmark's harness does, and aggregates them.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"
#include "ropescope/core/strings.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/reasoning.h"
#include "ropescope/eval/records.h"

#include "command.h"
#include "evaluate/evaluation_flags.h"
#include "evaluate/score_check.h"

namespace ropescope::app {

namespace score {

namespace {

struct ScoreFlags {
  std::string items, data;  // empty: not given
  bool check = false;
  ScoringFlags scoring;

  void bind(Flags& flags) {
    flags.group("Input");
    flags.add("items", items,
              "one JSON object a line: {\"doc\": the record's columns, \"output\": the model's answer}");
    flags.add("data", data, "with --check: the benchmark's file, .tsv or .jsonl (mmbench: .tsv)");
    flags.add("check", check, "only read the file of --data: what is accepted, what is rejected and why");
    scoring.bind(flags);
  }
};

Json score_line(const eval::Benchmark& benchmark, const eval::Rules& rules, eval::Tally& tally,
                const std::string& line, const std::string& where) {
  const Json object = eval::parse_record(line, where);
  if (!object.is_object() || !object.contains("doc") || !object["doc"].is_object()) {
    throw InputError("expected an object with \"doc\" and \"output\"");
  }
  const Json doc = eval::own_columns(benchmark, object["doc"]);
  if (!benchmark.scores_any_options) eval::check_doc(benchmark, doc);
  const std::string output = json_string(object, "output", "item");
  Json result = {{"prompt", benchmark.prompt(doc, rules)}};
  const eval::Reading reading = eval::read_answer(benchmark, doc, output, rules);
  result["extracted"] = reading.extracted;
  if (reading.processed) result["processed"] = *reading.processed;
  result["score"] = reading.score;
  tally.add(doc, reading);
  return result;
}

int score_items(const eval::Benchmark& benchmark, const eval::Rules& rules, const std::string& path,
                bool json) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw InputError("--items {}: cannot be read", path);
  const auto tally = benchmark.tally(rules);
  int64_t scored = 0, rejected = 0;
  size_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    Json result;
    try {
      result = score_line(benchmark, rules, *tally, line, where);
      ++scored;
    } catch (const InputError& error) {
      // A broken record costs itself only; the others count without it.
      log_warning("{}: {}", where, error.what());
      result = {{"error", error.what()}};
      ++rejected;
    }
    if (json) print_line(result);
  }
  if (stream.bad()) throw InputError("--items {}: reading failed after line {}", path, number);
  Json summary = {{"aggregates", tally->aggregates()}};
  if (rejected > 0) summary["rejected"] = rejected;
  if (json) {
    print_line(summary);
  } else {
    fmt::print("{}, profile {}{}\n{}\n", counted(scored, "item"), eval::profile_name(rules.profile),
               benchmark.has_policy ? ", policy " + eval::policy_name(rules.policy) : "",
               summary["aggregates"].dump(2));
  }
  if (std::fflush(stdout) != 0) throw EnvironmentError("stdout: writing failed");
  if (rejected == 0) return 0;
  throw InputError("--items {}: {} of {} records could not be scored", path, rejected, scored + rejected);
}

int run(const ScoreFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  const eval::Benchmark& benchmark = eval::find_benchmark(flags.scoring.benchmark);
  if (settings.csv) throw UsageError("--csv: score prints text or --json");
  if (flags.check) {
    const std::string& data = required_text(flags.data, "data");
    const bool table = std::filesystem::path(data).extension() != ".jsonl";
    return benchmark.name == "mmbench" && table
               ? check_mmbench(data, settings.json)
               : check_records(data, benchmark, flags.scoring.rules(), settings.json);
  }
  if (!flags.data.empty()) throw UsageError("--data: expected --check with it");
  return score_items(benchmark, flags.scoring.rules(), required_text(flags.items, "items"), settings.json);
}

}  // namespace

}  // namespace score

extern const Command kScore;
const Command kScore = make_command<score::ScoreFlags>(
    "score", "Reads a benchmark's answers as its harness does and scores them.",
    "ropescope score --benchmark mmbench --items answers.jsonl --json", kJson, score::run);

}  // namespace ropescope::app
