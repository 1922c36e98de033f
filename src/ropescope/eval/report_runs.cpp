// Reads what `evaluate` wrote.
#include <fstream>
#include <map>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/eval/report.h"
#include "ropescope/eval/samples.h"

namespace ropescope::eval {

namespace fs = std::filesystem;

namespace {

constexpr const char* kOwnScheme = "model's own";

std::string name_of(const fs::path& folder) { return (folder / "").parent_path().filename().string(); }

/// A finished run without its answers.
ResultRun read_summary(const fs::path& folder) {
  ResultRun run;
  run.name = name_of(folder);
  if (!fs::exists(folder / "summary.json")) {
    throw InputError("{}: expected summary.json, written by a finished ropescope evaluate", folder.string());
  }
  run.summary = read_json_file(folder / "summary.json");
  const Benchmark& known = find_benchmark(json_string(run.summary, "benchmark", run.name));
  run.benchmark =
      &benchmark_under(known, parse_profile(json_string_or(run.summary, "profile", "paper", run.name)));
  run.scheme = json_string_or(run.summary, "scheme", kOwnScheme, run.name);
  return run;
}

struct Kept {
  std::set<int64_t> wanted;
  int64_t most = 0;
};

/// Samples of one way of asking, the lowest records and the wanted ones.
class Answers {
 public:
  explicit Answers(const Benchmark& benchmark) : units_(benchmark) {}

  void add(int64_t record, Json&& sample, const Kept& kept, const std::string& file) {
    if (!sample.contains("doc") || !sample["doc"].is_object()) {
      throw InputError("{}: record {}: expected the object \"doc\"", file, record);
    }
    units_.add(record, sample["doc"], json_number(sample, "score", file));
    if (kept.wanted.count(record) > 0) {
      asked_for_[record] = std::move(sample);
    } else if (kept.most > 0) {
      lowest_[record] = std::move(sample);
      if (static_cast<int64_t>(lowest_.size()) > kept.most) lowest_.erase(std::prev(lowest_.end()));
    }
  }
  void into(ResultRun& run) {
    run.units = units_.scores();
    lowest_.merge(asked_for_);
    for (auto& [record, sample] : lowest_) run.samples.push_back(std::move(sample));
  }

 private:
  UnitCollector units_;
  std::map<int64_t, Json> lowest_, asked_for_;
};

std::map<Condition, Answers> read_answers(const fs::path& folder, const ResultRun& run, const Kept& kept) {
  const fs::path file = folder / "samples.jsonl";
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw InputError("{}: samples.jsonl is missing", folder.string());
  std::map<Condition, Answers> answers;
  for (std::string line; std::getline(stream, line);) {
    Json sample = parse_json(line, file.string());
    const Condition condition{json_string_or(sample, "scheme", "", file.string()),
                              json_integer_or(sample, "distractor_tokens", 0, file.string())};
    const int64_t record = json_integer(sample, "record", file.string());
    answers.try_emplace(condition, *run.benchmark)
        .first->second.add(record, std::move(sample), kept, file.string());
  }
  return answers;
}

Rules rules_of(const ResultRun& run) {
  Rules rules;
  rules.profile = parse_profile(json_string_or(run.summary, "profile", "paper", run.name));
  rules.policy = parse_policy(json_string_or(run.summary, "policy", "exact", run.name));
  return rules;
}

/// A run over long contexts: one run for each way of asking.
std::vector<ResultRun> split_run(const fs::path& folder, const ResultRun& whole, const Kept& kept) {
  auto scores = score_conditions(folder / "samples.jsonl", *whole.benchmark, rules_of(whole));
  auto answers = read_answers(folder, whole, kept);
  std::vector<ResultRun> runs;
  for (auto& [condition, part] : scores) {
    ResultRun run = whole;
    run.scheme = condition.scheme.empty() ? kOwnScheme : condition.scheme;
    run.distractor_tokens = condition.distractor_tokens;
    run.name = fmt::format("{}, {}, {} tokens between", whole.name, run.scheme, condition.distractor_tokens);
    run.summary["scheme"] = condition.scheme.empty() ? Json(nullptr) : Json(condition.scheme);
    run.summary["items"] = part.items;
    run.summary["failed"] = part.failed;
    run.summary["aggregates"] = std::move(part.aggregates);
    if (run.summary.contains("judge")) run.summary["judge"]["undecided"] = part.undecided;
    answers.at(condition).into(run);
    runs.push_back(std::move(run));
  }
  return runs;
}

}  // namespace

ResultRun read_run(const fs::path& folder, int64_t most_samples, const std::set<int64_t>& wanted) {
  ResultRun run = read_summary(folder);
  if (!run.summary.contains("aggregates")) {
    throw InputError("{}: summary.json: expected aggregates, found none", folder.string());
  }
  auto answers = read_answers(folder, run, {wanted, most_samples});
  if (answers.size() > 1) {
    throw InputError("{}: expected one way of asking, found {}", folder.string(), answers.size());
  }
  for (auto& [condition, own] : answers) own.into(run);
  return run;
}

std::vector<ResultRun> read_runs(const std::vector<fs::path>& folders, int64_t most_samples,
                                 const std::set<int64_t>& wanted) {
  std::map<std::string, int64_t> times;
  for (const fs::path& folder : folders) ++times[name_of(folder)];
  std::vector<ResultRun> runs;
  for (const fs::path& folder : folders) {
    ResultRun summary = read_summary(folder);
    std::vector<ResultRun> own;
    if (summary.summary.contains("text_lengths")) {
      own = split_run(folder, summary, {wanted, most_samples});
    } else {
      own.push_back(read_run(folder, most_samples, wanted));
    }
    for (ResultRun& run : own) {
      if (times[summary.name] > 1) {
        const fs::path whole = fs::absolute(folder / "").lexically_normal().parent_path();
        run.name = whole.parent_path().filename().string() + "/" + run.name;
      }
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

}  // namespace ropescope::eval
