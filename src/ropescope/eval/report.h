// "Paper / measured / difference / why": the runs of `ropescope evaluate` beside the papers' tables, and
// beside each other.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/units.h"

namespace ropescope::eval {

/// One folder that `evaluate` wrote; of a run over long contexts, one scheme at one length.
struct ResultRun {
  std::string name;  ///< of the folder
  Json summary;
  const Benchmark* benchmark = nullptr;
  std::string scheme;             ///< "model's own" where the run named none
  int64_t distractor_tokens = 0;  ///< of text between pictures and question
  UnitScores units;
  std::vector<Json> samples;  ///< as many as asked for, in the order of the records
};

/// Keeps the `most_samples` lowest records, and those of `wanted`. Throws InputError if the folder holds no
/// finished run that asks in one way.
ResultRun read_run(const std::filesystem::path& folder, int64_t most_samples,
                   const std::set<int64_t>& wanted = {});

/// The runs of all folders; a run over long contexts becomes one for each scheme and length. Folders of the
/// same name get the folder above in front of theirs.
std::vector<ResultRun> read_runs(const std::vector<std::filesystem::path>& folders, int64_t most_samples,
                                 const std::set<int64_t>& wanted = {});

/// Whether a question was answered at all: a run that only failed has no figure.
bool answered_any(const ResultRun& run);
/// The profile, and whether its rules alone decided where the harness asks a judge.
std::string profile_of(const ResultRun& run);
/// The policy that decided, empty for a benchmark without one.
std::string policy_of(const ResultRun& run);

/// The run's figure in percent with its interval: Wilson's where the units are right or wrong, else by
/// bootstrap.
struct Figure {
  double percent = 0;
  Interval interval;  ///< percent
  int64_t units = 0;
};
std::optional<Figure> figure_of(const ResultRun& run, uint64_t seed);

/// A line of the report.
struct ReportRow {
  std::string table, model, method, column;
  std::optional<double> paper, measured;
  std::optional<Interval> interval;  ///< percent
  /// Percent points, sqrt(p (1 - p) / n), where fewer questions than the published split's were asked.
  std::optional<double> standard_error;
  int64_t units = 0;                 ///< n: questions, groups or pictures that count on their own
  std::string run, profile, policy;  ///< of the measured figure
  std::string split;                 ///< what was asked of the published split
  bool whole_split = false;
  std::string why;
};

/// Two runs of one benchmark on the same data.
struct Comparison : PairedDifference {
  std::string benchmark, a, b;  ///< names of the runs, `b` minus `a`
};

struct Report {
  std::vector<ReportRow> rows;
  std::vector<Comparison> comparisons;
  std::vector<std::string> notes;  ///< what cannot be measured, and oddities of the printed figures
  std::vector<ResultRun> runs;
};

/// `tables`: "001:1" and so on; empty: those of which a run measures a column. `paper`:
/// data/paper_tables.json. Throws UsageError for a table that does not exist.
Report make_report(std::vector<ResultRun> runs, const Json& paper, const std::vector<std::string>& tables,
                   uint64_t seed);

/// Leaves the rows that a run measures, and a note on how many are left out.
void keep_measured_rows(Report& report);

std::string report_markdown(const Report& report);
std::string report_csv(const Report& report);

/// What reports write of missing numbers, of numbers, and of intervals.
std::string number_text(const std::optional<double>& value);
std::string difference_text(const std::optional<double>& paper, const std::optional<double>& measured);
std::string interval_text(const std::optional<Interval>& interval);

}  // namespace ropescope::eval
