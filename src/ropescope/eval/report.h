// "Paper / measured / difference / why": the runs of `ropescope evaluate` beside the papers' tables, and
// beside each other.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/units.h"

namespace ropescope::eval {

/// One folder that `evaluate` wrote.
struct ResultRun {
  std::string name;  ///< of the folder
  Json summary;
  const Benchmark* benchmark = nullptr;
  std::string scheme;  ///< "model's own" where the run named none
  UnitScores units;
  std::vector<Json> samples;  ///< as many as asked for, in the order of the records
};

/// Throws InputError if the folder holds no finished run.
ResultRun read_run(const std::filesystem::path& folder, int64_t most_samples);

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
  int64_t units = 0;
  std::string run, why;
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

std::string report_markdown(const Report& report);
std::string report_csv(const Report& report);
/// One page without other files; every kept sample can be looked up.
std::string report_html(const Report& report);

}  // namespace ropescope::eval
