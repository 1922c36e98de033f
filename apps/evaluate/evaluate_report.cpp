#include "evaluate/evaluate_report.h"

#include <cmath>
#include <cstdio>
#include <system_error>

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/strings.h"
#include "ropescope/eval/judge.h"
#include "ropescope/eval/python_text.h"
#include "ropescope/eval/sample_text.h"

namespace ropescope::app::evaluate {

namespace {

namespace fs = std::filesystem;

/// What every summary tells.
Json summary_of(const EvaluateRun& run, const Json& settings, int64_t asked, double seconds) {
  Json summary = settings, rejected = Json::array();
  for (const auto& record : rejected_records(run)) {
    rejected.push_back({{"record", record.record}, {"error", record.error}});
  }
  summary["benchmark_data"] = run.benchmark.data;
  summary["whole_file"] = settings["limit"] == 0;
  summary["rejected"] = std::move(rejected);
  summary["asked_now"] = asked;
  summary["seconds"] = seconds;
  return summary;
}

void add_scores(const eval::Benchmark& benchmark, const eval::Scores& scores, uint64_t seed, Json& summary) {
  // What the model would have answered is not known where nothing was answered: that is no figure of 0.
  const bool any = scores.failed < scores.items;
  const auto headline = any ? eval::headline_percent(benchmark, scores.aggregates) : std::nullopt;
  summary["items"] = scores.items;
  summary["failed"] = scores.failed;
  summary["no_answer"] = scores.no_answer;
  summary["percent"] = headline ? Json(*headline) : Json(nullptr);
  summary["n"] = scores.units.size();
  summary["interval"] = nullptr;
  if (headline && !scores.units.empty()) {
    const eval::Interval interval = eval::figure_interval(benchmark, scores.units, seed);
    if (interval.known()) summary["interval"] = {interval.low, interval.high};
  }
  summary["percent_of"] = benchmark.headline.to_string();
  summary["aggregates"] = scores.aggregates;
  if (!scores.aggregates_error.empty()) summary["aggregates_error"] = scores.aggregates_error;
  summary["generated_tokens"] = scores.generated_tokens;
}

/// Marks a figure of a benchmark whose harness asks a judge, and writes what the judge would be asked.
void hand_over(const eval::Benchmark& benchmark, const std::vector<Json>& for_judge, int64_t undecided,
               const fs::path& folder, Json& summary) {
  const fs::path file = folder / "judge.jsonl";
  if (benchmark.judge.question == nullptr) return;
  summary["judge"] = {{"figure", eval::kPrefetchOnly},
                      {"undecided", undecided},
                      {"file", for_judge.empty() ? Json(nullptr) : Json(file.filename().string())}};
  if (for_judge.empty()) {
    std::error_code none;
    fs::remove(file, none);  // (of an earlier run)
    return;
  }
  replace_text_file(file, eval::judge_text(for_judge));
}

void add_fading(const std::vector<eval::FadingCurve>& curves,
                const std::map<eval::Condition, eval::Scores>& scores, Json& summary) {
  int64_t items = 0, failed = 0, no_answer = 0, tokens = 0;
  for (const auto& [condition, part] : scores) {
    items += part.items;
    failed += part.failed;
    no_answer += part.no_answer;
    tokens += part.generated_tokens;
  }
  summary["items"] = items;
  summary["failed"] = failed;
  summary["no_answer"] = no_answer;
  summary["generated_tokens"] = tokens;
  summary["fading"] = eval::fading_json(curves);
}

/// Nothing that failed hides: how many were asked, and of them failed or were answered in no form that can be read, and how many
/// records made no question.
void add_counts(Json& summary) {
  summary["counts"] = {{"asked", summary.at("items")},
                       {"failed", summary.at("failed")},
                       {"rejected", summary.at("rejected").size()},
                       {"unread", summary.at("no_answer")}};
}

void write_attributes(ResultWriter& writer, const Json& summary) {
  for (const char* key : {"benchmark", "profile", "policy", "model", "scheme", "boxes"}) {
    if (summary[key].is_string()) writer.attribute("/evaluation", key, summary[key].get<std::string>());
  }
}

/// Accuracy and number of questions by depth of the needle and length of the context; no number where nothing
/// was asked.
void write_niah_map(ResultWriter& writer, const Json& aggregates, const Json& details) {
  const auto matrix = [](const Json& rows) {
    std::vector<at::Tensor> out;
    for (const Json& row : rows) out.push_back(at::tensor(row.get<std::vector<double>>(), at::kDouble));
    return at::stack(out);
  };
  const at::Tensor count = matrix(details.at("cell_count_depth_by_length"));
  const at::Tensor mean = matrix(aggregates.at("cell_mean_depth_by_length"));
  writer.write("/niah/count", count.to(at::kLong));
  writer.write("/niah/mean", mean.masked_fill(count.eq(0), std::nan("")));
  writer.write("/niah/length_from",
               at::tensor(details.at("length_from").get<std::vector<double>>(), at::kDouble));
  writer.write("/niah/depth_from",
               at::tensor(details.at("depth_from").get<std::vector<double>>(), at::kDouble));
}

void write_scores(ResultWriter& writer, const Json& summary, const eval::Scores& scores) {
  writer.write("/evaluation/record", at::tensor(scores.records, at::kLong));
  writer.write("/evaluation/score", at::tensor(scores.scores, at::kDouble));
  writer.write("/evaluation/tokens", at::tensor(scores.tokens, at::kLong));
  write_attributes(writer, summary);
  if (summary["percent"].is_number())
    writer.attribute("/evaluation", "percent", summary["percent"].get<double>());
  writer.attribute("/evaluation", "aggregates", summary["aggregates"].dump());
  if (scores.details.is_object()) write_niah_map(writer, summary["aggregates"], scores.details);
}

/// On one line, cut where it is long.
std::string line_of(const std::string& text) {
  constexpr size_t kLongest = 100;
  const eval::Text characters = eval::join(eval::split(eval::from_utf8(text)), U" ");
  if (characters.size() <= kLongest) return eval::to_utf8(characters);
  return eval::to_utf8(characters.substr(0, kLongest)) + "...";
}

void print_figure(const eval::Benchmark& benchmark, const Json& summary) {
  const auto items = summary["items"].get<int64_t>(), no_answer = summary["no_answer"].get<int64_t>();
  if (summary["percent"].is_number()) {
    std::string interval = ", no interval from one unit";
    if (summary["interval"].is_array()) {
      interval = fmt::format(" [{:.2f}, {:.2f}], 95 % interval", summary["interval"][0].get<double>(),
                             summary["interval"][1].get<double>());
    }
    const std::string policy = benchmark.has_policy ? ", policy " + summary["policy"].get<std::string>() : "";
    fmt::print("{:.2f} %{}, n = {} ({}, profile {}{})\n", summary["percent"].get<double>(), interval,
               summary["n"].get<int64_t>(), summary["percent_of"].get<std::string>(),
               summary["profile"].get<std::string>(), policy);
  } else if (summary.contains("aggregates_error")) {
    fmt::print("no figure: {}\n", summary["aggregates_error"].get<std::string>());
  } else {
    fmt::print("no figure\n");
  }
  fmt::print("unreadable answers: {} of {}\n", no_answer, items);
  if (!summary.contains("judge")) return;
  const auto undecided = summary["judge"]["undecided"].get<int64_t>();
  fmt::print("{}: {} for a judge to read, wrong until then{}\n", eval::kPrefetchOnly,
             counted(undecided, "answer"),
             undecided > 0 ? "; judge.jsonl has them, ropescope score --judge takes its replies" : "");
}

void print_answers(const std::vector<Json>& samples) {
  for (const Json& sample : samples) {
    const std::string said = sample.contains("error")
                                 ? "failed: " + line_of(eval::json_text(sample["error"]))
                                 : "\"" + line_of(eval::json_text(sample.at("output"))) + "\"";
    fmt::print("record {}: {}\n  answer {}, expected \"{}\"\n", sample.at("record").get<int64_t>(),
               line_of(eval::json_text(sample.at("prompt"))), said,
               line_of(eval::gold_text(sample.at("doc"))));
  }
}

void print_summary(const eval::Benchmark& benchmark, const Json& summary,
                   const std::vector<eval::FadingCurve>& curves, const std::vector<Json>& first,
                   const fs::path& folder, const CommonSettings& settings) {
  if (settings.json) {
    fmt::print("{}\n", summary.dump(-1, ' ', true));
    return;
  }
  if (settings.csv && !curves.empty()) return print_fading(curves, /*csv=*/true);
  fmt::print("{}: {}, {} failed, {} rejected\n", benchmark.name,
             counted(summary["items"].get<int64_t>(), "question"), summary["failed"].get<int64_t>(),
             counted(static_cast<int64_t>(summary["rejected"].size()), "record"));
  if (!curves.empty()) {
    print_fading(curves, /*csv=*/false);
    fmt::print("unreadable answers: {} of {}\n", summary["no_answer"].get<int64_t>(),
               summary["items"].get<int64_t>());
  } else {
    print_figure(benchmark, summary);
  }
  print_answers(first);
  fmt::print("written: {}\n", (folder / "samples.jsonl").string());
}

/// A run without a single answer has no figure.
void check_answered(const Json& summary, const std::vector<Json>& first) {
  const auto items = summary["items"].get<int64_t>();
  if (items == 0 || summary["failed"].get<int64_t>() < items) return;
  const std::string reason = first.empty() ? "" : eval::json_text(first.front().value("error", Json("")));
  throw InputError(
      "none of the {} could be asked, the first because: {}; once that is mended --resume asks again",
      counted(items, "question"), reason);
}

}  // namespace

void report_run(const EvaluateRun& run, const std::optional<LongContext>& context, const Json& run_settings,
                const Asked& asked, const Provenance& provenance, const CommonSettings& settings) {
  Json summary = summary_of(run, run_settings, asked.questions, asked.seconds);
  ResultWriter writer(run.folder / "result.h5", provenance, /*force=*/true);
  std::vector<eval::FadingCurve> curves;
  std::vector<Json> first;
  const fs::path samples = run.folder / "samples.jsonl";
  if (context) {
    auto scores = eval::score_conditions(samples, run.benchmark, run.rules);
    curves = eval::fading_curves(scores, run.benchmark, context->schemes, context->lengths, settings.seed);
    add_fading(curves, scores, summary);
    if (run.benchmark.judge.question != nullptr) {
      int64_t undecided = 0;
      for (const auto& [condition, part] : scores) undecided += part.undecided;
      hand_over(run.benchmark, {}, undecided, run.folder, summary);
    }
    write_fading(writer, *context, curves, scores);
    write_attributes(writer, summary);
    if (!scores.empty()) first = std::move(scores.begin()->second.first);
  } else {
    eval::Scores scores = eval::score_samples(samples, run.benchmark, run.rules);
    add_scores(run.benchmark, scores, settings.seed, summary);
    hand_over(run.benchmark, scores.for_judge, scores.undecided, run.folder, summary);
    write_scores(writer, summary, scores);
    first = std::move(scores.first);
  }
  add_counts(summary);
  writer.commit();
  replace_text_file(run.folder / "summary.json", summary.dump(2) + "\n");
  print_summary(run.benchmark, summary, curves, first, run.folder, settings);
  if (std::fflush(stdout) != 0) throw EnvironmentError("stdout: writing failed");
  check_answered(summary, first);
}

}  // namespace ropescope::app::evaluate
