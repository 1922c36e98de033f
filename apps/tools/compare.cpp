// ropescope compare: judges two result files dataset by dataset.
#include "ropescope/io/compare.h"

#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

#include "command.h"

namespace ropescope::app {

namespace compare {

namespace {

struct CompareFlags {
  std::vector<std::string> input;
  double rtol = 1e-5, atol = 1e-8;
  std::string only;
  bool timing = false;

  void bind(Flags& flags) {
    flags.group("Comparison (exit code 0: equal within tolerance, 1: not)");
    flags
        .add("input", input,
             "two result files, the second is the reference; may stand without the flag's name")
        .positional();
    flags.add("rtol", rtol, "tolerance relative to the reference").at_least(0);
    flags.add("atol", atol, "absolute tolerance; equal: |a - b| <= atol + rtol |b|, and NaN with NaN")
        .at_least(0);
    flags.add("only", only, "only datasets whose path starts so, for example /decay");
    flags.add("timing", timing, "compare how fast the runs were, too (tokens_per_second, seconds)");
  }
};

std::string place_text(const CompareEntry& entry) {
  return entry.place.empty() ? "" : fmt::format(" at [{}]", fmt::join(entry.place, ", "));
}

/// The largest difference; words where it is no number.
std::string worst_text(const CompareEntry& entry) {
  if (std::isfinite(entry.difference)) return fmt::format("{:.3g}", entry.difference);
  return entry.first.front() == '"' ? "text" : "not finite";
}

std::string share_text(double share) {
  return std::isfinite(share) ? fmt::format("{:.3g}", share) : "outside";
}

void print_table(const CompareReport& report, const CompareOptions& options) {
  fmt::print("{:<15} {:<40} {:>10} {:>11}  {}\n", "status", "dataset", "worst", "of allowed",
             "where: first, second");
  int64_t different = 0, compared = 0;
  for (const CompareEntry& entry : report.entries) {
    if (entry.status == CompareStatus::kNotCompared) continue;
    ++compared;
    different += entry.status != CompareStatus::kEqual;
    const bool values = entry.status == CompareStatus::kEqual || entry.status == CompareStatus::kDiffers;
    const std::string worst = values && entry.elements > 0 ? worst_text(entry) : "";
    const std::string share = values && entry.elements > 0 ? share_text(entry.share) : "";
    std::string detail;
    if (!entry.first.empty() && (entry.difference != 0 || !values)) {
      detail = fmt::format("{}{}{}, {}", place_text(entry), entry.place.empty() ? "" : ": ", entry.first,
                           entry.second);
    }
    if (entry.outside > 1) detail += fmt::format("; {} of {} outside", entry.outside, entry.elements);
    fmt::print("{:<15} {:<40} {:>10} {:>11}  {}\n", compare_status_name(entry.status), entry.name, worst,
               share, detail);
  }
  for (const CompareEntry& entry : report.entries) {
    if (entry.status != CompareStatus::kNotCompared) continue;
    fmt::print("{:<15} {:<40} timing; --timing compares it\n", compare_status_name(entry.status), entry.name);
  }
  fmt::print("\n{} of {} differ (rtol {:g}, atol {:g})\n", different, compared, options.rtol, options.atol);
}

/// JSON has no infinity; null says "beyond any tolerance".
Json finite_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

void print_json(const CompareReport& report, const CompareOptions& options) {
  Json entries = Json::array();
  for (const CompareEntry& entry : report.entries) {
    entries.push_back({{"name", entry.name},
                       {"status", compare_status_name(entry.status)},
                       {"worst", finite_or_null(entry.difference)},
                       {"share", finite_or_null(entry.share)},
                       {"place", entry.place},
                       {"first", entry.first},
                       {"second", entry.second},
                       {"elements", entry.elements},
                       {"outside", entry.outside}});
  }
  const Json object = {
      {"equal", report.equal()}, {"rtol", options.rtol}, {"atol", options.atol}, {"datasets", entries}};
  fmt::print("{}\n", object.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void print_csv(const CompareReport& report) {
  fmt::print("name,status,worst,share,elements,outside\n");
  for (const CompareEntry& entry : report.entries) {
    fmt::print("{},{},{:.9g},{:.9g},{},{}\n", entry.name, compare_status_name(entry.status), entry.difference,
               entry.share, entry.elements, entry.outside);
  }
}

int run(const CompareFlags& flags, const Invocation& invocation) {
  const auto& files = flags.input;
  if (files.size() != 2) throw UsageError("expected two result files, found {}; see --help", files.size());
  CompareOptions comparison;
  comparison.rtol = flags.rtol;
  comparison.atol = flags.atol;
  comparison.only = flags.only;
  comparison.timing = flags.timing;
  const ResultReader first(files[0]), second(files[1]);
  const CompareReport report = compare_results(first, second, comparison);
  if (report.entries.empty()) {
    throw UsageError("nothing to compare: neither file has datasets{}",
                     comparison.only.empty() ? "" : " below --only " + comparison.only);
  }
  if (invocation.settings.json) {
    print_json(report, comparison);
  } else if (invocation.settings.csv) {
    print_csv(report);
  } else {
    print_table(report, comparison);
  }
  return report.equal() ? 0 : 1;
}

}  // namespace

}  // namespace compare

extern const Command kCompare;
const Command kCompare = make_command<compare::CompareFlags>(
    "compare", "Judges two result files dataset by dataset, with tolerances.",
    "ropescope compare new.h5 reference.h5 --rtol 1e-5", kTables, compare::run);

}  // namespace ropescope::app
