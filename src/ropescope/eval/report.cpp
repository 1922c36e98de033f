#include "ropescope/eval/report.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/eval/evaluation.h"

namespace ropescope::eval {

namespace fs = std::filesystem;

ResultRun read_run(const fs::path& folder, int64_t most_samples) {
  ResultRun run;
  run.name = (folder / "").parent_path().filename().string();
  if (!fs::exists(folder / "summary.json")) {
    throw InputError("{}: expected summary.json, written by a finished ropescope evaluate", folder.string());
  }
  run.summary = read_json_file(folder / "summary.json");
  run.benchmark = &find_benchmark(json_string(run.summary, "benchmark", run.name));
  run.scheme = json_string_or(run.summary, "scheme", "model's own", run.name);
  std::ifstream stream(folder / "samples.jsonl", std::ios::binary);
  if (!stream) throw InputError("{}: samples.jsonl is missing", folder.string());
  UnitCollector units(*run.benchmark);
  for (std::string line; std::getline(stream, line);) {
    Json sample = parse_json(line, folder.string() + "/samples.jsonl");
    units.add(json_integer(sample, "record", run.name), sample.at("doc"),
              json_number(sample, "score", run.name));
    if (static_cast<int64_t>(run.samples.size()) < most_samples) run.samples.push_back(std::move(sample));
  }
  run.units = units.scores();
  std::sort(run.samples.begin(), run.samples.end(),
            [](const Json& a, const Json& b) { return a.at("record") < b.at("record"); });
  return run;
}

namespace {

/// The method of the tables that a run's scheme is.
bool is_method(const std::string& scheme, const std::string& method) {
  const std::string name = scheme.substr(0, scheme.find_first_of(":/"));
  if (method == "w/o ID-Align") return name == "model's own" || name == "vanilla";
  if (method == "w/ ID-Align" || method == "ID-Align") return scheme == "id-align";
  if (method == "V2PE") return name == "v2pe" && scheme.find('+') == std::string::npos;
  if (method == "MRoPE") return name == "mrope" && scheme.find('+') == std::string::npos;
  return false;
}

/// What a column of a table is in a run: a figure of one benchmark.
struct ColumnMetric {
  std::string benchmark;
  Json::json_pointer place;
  double scale = 100;
  bool headline = true;
};

std::optional<ColumnMetric> metric_of(const Json& table, const std::string& column) {
  if (table.at("paper") == "001" && table.at("table") == "2") {
    return ColumnMetric{"mmbench", Json::json_pointer("/l2/" + column), 100, false};
  }
  if (!table.contains("metric_keys") || !table["metric_keys"].contains(column) ||
      !table["metric_keys"][column].is_string()) {
    return std::nullopt;
  }
  const auto key = table["metric_keys"][column].get<std::string>();
  if (key == "mme.cognition_percent" || key == "mme.perception_percent") {
    return ColumnMetric{"mme", Json::json_pointer("/" + key.substr(4)), 1, false};
  }
  std::string name = key.substr(0, key.find('.'));
  if (name == "vqav2_val") name = "vqav2";
  const Benchmark& benchmark = find_benchmark(name);
  return ColumnMetric{name, benchmark.headline, benchmark.headline_scale, true};
}

std::optional<double> number_at(const Json& aggregates, const Json::json_pointer& place) {
  if (!aggregates.is_object() || !aggregates.contains(place) || !aggregates.at(place).is_number()) return {};
  return aggregates.at(place).get<double>();
}

/// Why a measured figure need not be the printed one.
std::string reasons(const ResultRun& run, const std::string& paper_model, const ReportRow& row) {
  std::vector<std::string> parts;
  const std::string model = json_string_or(run.summary, "model", "?", run.name);
  parts.push_back(fmt::format("model {} (paper: {})", model, paper_model));
  if (run.summary.value("whole_file", false)) {
    parts.push_back(fmt::format("whole file, {} units", row.units));
  } else {
    parts.push_back(fmt::format("first {} records only", run.summary.value("limit", Json(0)).dump()));
  }
  if (run.summary.value("profile", "paper") != "paper") parts.push_back("profile current");
  if (run.summary.value("policy", "exact") != "exact") parts.push_back("policy static");
  if (!run.summary.value("images", true)) parts.push_back("asked without pictures");
  if (const int64_t failed = run.summary.value("failed", 0); failed > 0) {
    parts.push_back(fmt::format("{} items failed", failed));
  }
  if (row.interval && row.paper) {
    const bool inside = row.interval->low <= *row.paper && *row.paper <= row.interval->high;
    parts.push_back(inside ? "the printed figure lies in the 95 % interval"
                           : "the printed figure lies outside the 95 % interval");
  }
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : "; ") + part;
  return text;
}

/// Figures that no run on the published files can give.
std::optional<std::string> unmeasurable(const Json& table, const Json& row, const ColumnMetric& metric) {
  const bool qwen = row.value("model", "").rfind("Qwen", 0) == 0;
  if (table.at("paper") == "001" && metric.benchmark == "mmbench" && qwen) {
    return "cannot be measured on dev: the figure is a fraction of 1784, the size of the test split, whose "
           "answers "
           "are not public";
  }
  return std::nullopt;
}

/// The average of a table's row, once all its other columns are measured.
void fill_average(std::vector<ReportRow>& rows, size_t first) {
  double sum = 0;
  int64_t columns = 0;
  ReportRow* average = nullptr;
  for (size_t i = first; i < rows.size(); ++i) {
    if (rows[i].column == "Avg" || rows[i].column == "avg") {
      average = &rows[i];
    } else if (!rows[i].measured) {
      return;
    } else {
      sum += *rows[i].measured;
      ++columns;
    }
  }
  if (average == nullptr || columns == 0) return;
  average->measured = sum / static_cast<double>(columns);
  average->units = columns;
  average->why = "mean of the columns beside it";
}

void add_table(const Json& table, const std::vector<ResultRun>& runs, uint64_t seed, Report& report) {
  const std::string name = table.at("paper").get<std::string>() + ":" + table.at("table").get<std::string>();
  for (const Json& row : table.at("rows")) {
    const std::string model = row.value("model", ""),
                      method = row.value(
                          "method",
                          row.value("design",
                                    row.value("category",
                                              row.value("allocation",
                                                        row.value("benchmark", row.value("name", ""))))));
    const Json values = row.contains("values") ? row["values"] : Json{{"value", row.value("value", Json())}};
    const size_t first = report.rows.size();
    for (const auto& [column, value] : values.items()) {
      ReportRow line{name, model, method, column, {}, {}, {}, 0, "", "not measured"};
      if (value.is_number()) line.paper = value.get<double>();
      const auto metric = metric_of(table, column);
      if (!metric) {
        line.why = table.contains("metric_keys") ? "a mean over the table's columns"
                                                 : "no single benchmark run gives this figure";
        report.rows.push_back(line);
        continue;
      }
      for (const ResultRun& run : runs) {
        if (run.benchmark->name != metric->benchmark || !is_method(run.scheme, method)) continue;
        const auto number = number_at(run.summary.at("aggregates"), metric->place);
        if (!number) continue;
        line.run = run.name;
        line.measured = *number * metric->scale;
        line.units = static_cast<int64_t>(run.units.size());
        if (metric->headline) {
          if (const auto figure = figure_of(run, seed)) line.interval = figure->interval;
        }
        line.why = reasons(run, model, line);
      }
      if (const auto never = unmeasurable(table, row, *metric)) {
        line.why = line.measured ? *never + "; " + line.why : *never;
      }
      report.rows.push_back(line);
    }
    fill_average(report.rows, first);
  }
}

Comparison compare(const ResultRun& a, const ResultRun& b, uint64_t seed) {
  return {paired_difference(*a.benchmark, a.units, b.units, seed), a.benchmark->name, a.name, b.name};
}

bool same_questions(const ResultRun& a, const ResultRun& b) {
  for (const char* key : {"benchmark", "data_sha256", "profile", "policy"}) {
    if (a.summary.value(key, Json()) != b.summary.value(key, Json())) return false;
  }
  return true;
}

}  // namespace

std::optional<Figure> figure_of(const ResultRun& run, uint64_t seed) {
  const auto percent = headline_percent(*run.benchmark, run.summary.at("aggregates"));
  if (!percent || run.units.empty()) return std::nullopt;
  return Figure{*percent, figure_interval(*run.benchmark, run.units, seed),
                static_cast<int64_t>(run.units.size())};
}

Report make_report(std::vector<ResultRun> runs, const Json& paper, const std::vector<std::string>& tables,
                   uint64_t seed) {
  Report report;
  std::vector<std::string> missing = tables;
  for (const Json& table : paper.at("tables")) {
    const std::string name =
        table.at("paper").get<std::string>() + ":" + table.at("table").get<std::string>();
    if (tables.empty()) {
      Report part;
      add_table(table, runs, seed, part);
      const bool measured = std::any_of(part.rows.begin(), part.rows.end(),
                                        [](const ReportRow& row) { return row.measured.has_value(); });
      if (measured) report.rows.insert(report.rows.end(), part.rows.begin(), part.rows.end());
    } else if (std::count(tables.begin(), tables.end(), name) > 0) {
      add_table(table, runs, seed, report);
      missing.erase(std::remove(missing.begin(), missing.end(), name), missing.end());
    }
  }
  if (!missing.empty())
    throw UsageError("--tables: expected for example 001:1, found \"{}\"", missing.front());
  for (size_t a = 0; a < runs.size(); ++a) {
    for (size_t b = a + 1; b < runs.size(); ++b) {
      if (same_questions(runs[a], runs[b])) report.comparisons.push_back(compare(runs[a], runs[b], seed));
    }
  }
  if (!report.rows.empty()) {
    report.notes.push_back(
        "MME in one figure is (perception + cognition)/28; the paper does not say how it makes one figure of "
        "two.");
    report.notes.push_back(
        "The Qwen figures of MMBench fit the 1784 questions of the test split, not the 1164 of dev.");
    for (const Json& misfit : paper.at("derived_counts").value("misfit", Json::array())) {
      report.notes.push_back(fmt::format("Table {}, {}, {}: {}", misfit.value("table", ""),
                                         misfit.value("column", ""), misfit.value("row", ""),
                                         misfit.value("remark", "")));
    }
  }
  report.runs = std::move(runs);
  return report;
}

}  // namespace ropescope::eval
