#include "ropescope/eval/report.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/strings.h"
#include "ropescope/eval/evaluation.h"
#include "ropescope/eval/report_tables.h"

namespace ropescope::eval {

namespace {

Comparison compare(const ResultRun& a, const ResultRun& b, uint64_t seed) {
  Comparison result;
  static_cast<PairedDifference&>(result) = paired_difference(*a.benchmark, a.units, b.units, seed);
  result.benchmark = a.benchmark->name;
  result.a = a.name;
  result.b = b.name;
  return result;
}

bool same_questions(const ResultRun& a, const ResultRun& b) {
  if (a.distractor_tokens != b.distractor_tokens) return false;
  for (const char* key : {"benchmark", "data_sha256", "profile", "policy"}) {
    if (a.summary.value(key, Json()) != b.summary.value(key, Json())) return false;
  }
  return true;
}

}  // namespace

bool answered_any(const ResultRun& run) {
  const int64_t items = run.summary.value("items", int64_t{0}),
                failed = run.summary.value("failed", int64_t{0});
  return items == 0 || failed < items;
}

std::optional<Figure> figure_of(const ResultRun& run, uint64_t seed) {
  const auto percent = headline_percent(*run.benchmark, run.summary.at("aggregates"));
  if (!percent || run.units.empty() || !answered_any(run)) return std::nullopt;
  return Figure{*percent, figure_interval(*run.benchmark, run.units, seed),
                static_cast<int64_t>(run.units.size())};
}

Report make_report(std::vector<ResultRun> runs, const Json& paper, const std::vector<std::string>& tables,
                   uint64_t seed) {
  Report report;
  std::set<std::string> missing(tables.begin(), tables.end());
  for (const Json& table : paper.at("tables")) {
    const std::string name = table_name(table);
    if (!tables.empty() && missing.count(name) == 0) continue;
    missing.erase(name);
    std::vector<ReportRow> rows = table_rows(paper, table, runs, seed);
    const bool measured =
        std::any_of(rows.begin(), rows.end(), [](const ReportRow& row) { return row.measured.has_value(); });
    if (tables.empty() && !measured) continue;
    report.rows.insert(report.rows.end(), rows.begin(), rows.end());
    const auto notes = table_notes(paper, table);
    report.notes.insert(report.notes.end(), notes.begin(), notes.end());
  }
  if (!missing.empty()) {
    throw UsageError("--tables: expected for example 001:1, found \"{}\"", *missing.begin());
  }
  for (size_t a = 0; a < runs.size(); ++a) {
    for (size_t b = a + 1; b < runs.size(); ++b) {
      if (same_questions(runs[a], runs[b])) report.comparisons.push_back(compare(runs[a], runs[b], seed));
    }
  }
  report.runs = std::move(runs);
  return report;
}

void keep_measured_rows(Report& report) {
  const auto left_out = static_cast<int64_t>(
      std::erase_if(report.rows, [](const ReportRow& row) { return !row.measured.has_value(); }));
  if (left_out == 0) return;
  report.notes.insert(report.notes.begin(),
                      fmt::format("{} of these tables {} not measured by these runs; --all-rows lists them.",
                                  counted(left_out, "figure"), left_out == 1 ? "is" : "are"));
}

}  // namespace ropescope::eval
