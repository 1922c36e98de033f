#include "ropescope/eval/report_tables.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/eval/evaluation.h"
#include "ropescope/eval/judge.h"

namespace ropescope::eval {

namespace {

/// The curves of paper 003: accuracy against the distance between picture and question.
constexpr const char* kDistances = "003:figure 3";

/// The printed figures have two digits.
bool same_figure(double a, double b) { return std::abs(a - b) < 0.005; }

std::string scheme_name(const std::string& scheme) { return scheme.substr(0, scheme.find_first_of(":/")); }

/// Whether a run's scheme is a method of the tables.
bool is_method(const std::string& scheme, const std::string& method) {
  const std::string name = scheme_name(scheme);
  const bool single = scheme.find('+') == std::string::npos;
  if (method == "w/o ID-Align") return name == "model's own" || name == "vanilla";
  if (method == "w/ ID-Align" || method == "ID-Align") return scheme == "id-align";
  if (method == "V2PE") return name == "v2pe" && single;
  if (method == "MRoPE") return name == "mrope" && single;
  if (method == "MRoPE+DIPE") return name == "dipe" && single;
  return false;
}

/// What a column of a table is in a run: a figure of one benchmark, or of a part of it.
struct ColumnMetric {
  std::string benchmark;
  Json::json_pointer place;
  double scale = 100;
  std::string part;               ///< UnitRule::part; empty: the whole benchmark
  std::optional<double> weight;   ///< of a stratum, for a part
  int64_t distractor_tokens = 0;  ///< of the runs that measure it
};

/// Accuracy at a distance ("4K") between picture and question.
std::optional<ColumnMetric> distance_metric(const Json& row, const std::string& column) {
  static const std::map<std::string, std::string> names = {
      {"HRBench-4K", "hrbench_4k"},   {"HRBench-8K", "hrbench_8k"}, {"POPE", "pope"},
      {"ChartQA_TEST", "chartqa"},    {"DocVQA_VAL", "docvqa"},     {"AI2D_TEST", "ai2d"},
      {"RealWorldQA", "realworldqa"}, {"MMStar", "mmstar"},         {"MathVista_MINI", "mathvista_mini"}};
  const auto found = names.find(row.value("benchmark", ""));
  if (found == names.end()) return std::nullopt;
  const Benchmark& benchmark = find_benchmark(found->second);
  return ColumnMetric{benchmark.name,
                      benchmark.headline,
                      benchmark.headline_scale,
                      "",
                      {},
                      int64_t{1024} * std::atoi(column.c_str())};
}

std::optional<ColumnMetric> metric_of(const Json& table, const Json& row, const std::string& column) {
  if (table_name(table) == kDistances) return distance_metric(row, column);
  if (table_name(table) == "001:2") {
    return ColumnMetric{"mmbench", Json::json_pointer("/l2/" + column), 100, column, {}};
  }
  const Json keys = table.value("metric_keys", Json::object());
  if (!keys.contains(column) || !keys[column].is_string()) return std::nullopt;
  const auto key = keys[column].get<std::string>();
  if (key == "mme.perception_percent")
    return ColumnMetric{"mme", Json::json_pointer("/perception_percent"), 1, "perception", 1.0 / 20};
  if (key == "mme.cognition_percent")
    return ColumnMetric{"mme", Json::json_pointer("/cognition_percent"), 1, "cognition", 1.0 / 8};
  std::string name = key.substr(0, key.find('.'));
  if (name == "vqav2_val") name = "vqav2";
  const Benchmark& benchmark = find_benchmark(name);
  return ColumnMetric{name, benchmark.headline, benchmark.headline_scale, "", {}};
}

/// A figure of a run: percent, its interval and what it is a mean of.
std::optional<Figure> measured_figure(const ResultRun& run, const ColumnMetric& metric, uint64_t seed) {
  const Json& aggregates = run.summary.at("aggregates");
  // (under another profile the whole benchmark's figure may stand elsewhere)
  const auto& place = metric.part.empty() ? run.benchmark->headline : metric.place;
  if (!answered_any(run) || !aggregates.is_object() || !aggregates.contains(place)) return {};
  const Json& number = aggregates.at(place);
  if (!number.is_number()) return {};
  const double percent =
      number.get<double>() * (metric.part.empty() ? run.benchmark->headline_scale : metric.scale);
  if (metric.part.empty()) {
    return Figure{percent, figure_interval(*run.benchmark, run.units, seed),
                  static_cast<int64_t>(run.units.size())};
  }
  const UnitScores units = units_of_part(run.units, metric.part);
  if (units.empty()) return {};
  return Figure{percent, units_interval(units, metric.weight, metric.scale, seed),
                static_cast<int64_t>(units.size())};
}

/// How much of the published split a run asked.
struct SplitUse {
  std::string text;
  bool whole = false;
};

SplitUse split_use(const ResultRun& run) {
  const int64_t items = run.summary.value("items", int64_t{0});
  const size_t rejected = run.summary.value("rejected", Json::array()).size();
  const bool whole_file = run.summary.value("whole_file", false);
  const auto published = published_questions(*run.benchmark);
  const std::string& data = run.benchmark->data;
  const std::string split = data.substr(0, data.find(':'));
  SplitUse use;
  use.whole = whole_file && rejected == 0 && published && items == *published;
  if (use.whole) {
    use.text = fmt::format("{}: whole, {} rows", split, items);
  } else if (published) {
    use.text = fmt::format("{}: {} of {} rows", split, items, *published);
  } else {
    use.text = fmt::format("{}: {} rows of the {}", split, items, whole_file ? "whole file" : "file");
  }
  if (rejected > 0) use.text += fmt::format(", {} rejected", rejected);
  return use;
}

/// Why a measured figure need not be the printed one.
std::string reasons(const ResultRun& run, const Json& table, const ReportRow& row) {
  std::vector<std::string> parts;
  const std::string model = json_string_or(run.summary, "model", "?", run.name);
  parts.push_back(row.table == kDistances ? "model " + model
                                          : fmt::format("model {} (paper: {})", model, row.model));
  const Json settings = table.value("settings", Json::object());
  if (settings.contains(row.method) && settings[row.method].is_string()) {
    parts.push_back(
        fmt::format("scheme {} (paper: {})", run.scheme, settings[row.method].get<std::string>()));
  }
  if (!row.whole_split) {
    const int64_t limit = run.summary.value("limit", int64_t{0});
    parts.push_back(limit > 0 ? fmt::format("the first {} records only", limit)
                              : std::string("not the whole published split"));
  }
  const char* const own_profile = row.table == kDistances ? "vlmevalkit" : "paper";
  if (row.table == kDistances) {
    parts.push_back("other text between picture and question");
    if (run.benchmark->name == "pope") parts.push_back("accuracy here; the paper may plot F1");
  }
  if (run.summary.contains("judge")) {
    parts.push_back(fmt::format("{}: {} answers that the harness gives to a judge count as wrong",
                                kPrefetchOnly, run.summary["judge"].value("undecided", int64_t{0})));
  }
  if (row.profile != own_profile) {
    parts.push_back(fmt::format("scored by other code than the paper's ({}--profile {})",
                                row.table == kDistances ? "VLMEvalKit: " : "", own_profile));
  }
  if (row.policy == "static") parts.push_back("letters read by one more rule (--policy static)");
  if (!run.summary.value("images", true)) parts.push_back("asked without pictures");
  if (const auto failed = run.summary.value("failed", int64_t{0}); failed > 0) {
    parts.push_back(fmt::format("{} questions failed and count as unanswered", failed));
  }
  if (row.interval && row.paper) {
    const bool inside = row.interval->low <= *row.paper && *row.paper <= row.interval->high;
    parts.push_back(inside ? "the printed figure lies in the interval"
                           : "the printed figure lies outside the interval");
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

/// Figures that no run on the published files can give.
std::optional<std::string> unmeasurable(const Json& paper, const ReportRow& row, const ColumnMetric& metric) {
  const bool qwen = row.model.rfind("Qwen", 0) == 0;
  if (row.table.rfind("001:", 0) != 0 || metric.benchmark != "mmbench" || !qwen) return std::nullopt;
  const Json& counts = paper.at("derived_counts");
  return fmt::format(
      "cannot be measured: the figure fits {} questions, the size of the test split, whose answers are not "
      "public (dev has {})",
      counts.at("qwen_mmbench").at("n").get<int64_t>(), counts.at("vicuna_mmbench").at("n").get<int64_t>());
}

/// What is odd about a printed figure.
std::string oddity(const Json& paper, const Json& table, const Json& row, const ReportRow& line) {
  if (!line.paper) return "";
  const Json& counts = paper.at("derived_counts");
  for (const Json& misfit : counts.value("misfit", Json::array())) {
    if (line.table == "001:" + misfit.value("table", "") && line.column == misfit.value("column", "") &&
        same_figure(*line.paper, misfit.value("printed", 0.0))) {
      return misfit.value("remark", "");
    }
  }
  if (line.table == "001:2" && line.column == "RR" && same_figure(*line.paper, 77.72)) {
    return counts.at("qwen_mmbench").value("remark", "");
  }
  const Json hidden = {row.value("benchmark", Json()), row.value("method", Json()),
                       std::atoi(line.column.c_str())};
  for (const Json& place : table.value("occluded", Json::array())) {
    if (place == hidden) return "read off a picture, where another marker hides it: error about 0.2";
  }
  if (table.contains("read_off")) return "read off a picture: error up to 0.1";
  return row.value("approximate", false) ? "approximate in the paper's text" : "";
}

/// Why a figure is none of a single run.
std::string why_no_run(const ReportRow& line) {
  const std::string none = "no single benchmark run gives this figure";
  if (line.table == "002:text") return none + ": a difference of two runs, or read off a text";
  return line.table.rfind("002:", 0) == 0 ? none + ": a mean over benchmarks without figures of their own"
                                          : none;
}

std::string joined(const std::string& a, const std::string& b) {
  return a.empty() ? b : b.empty() ? a : a + "; " + b;
}

/// Of a mean over benchmarks, which of its kind are here and why it is not measured; empty for other figures.
std::string mean_note(const Json& paper, const Json& table, const Json& row, const std::string& column) {
  for (const Json& mean : paper.value("means", Json::array())) {
    const bool named = mean.at("name") == row.value("category", Json()) || mean.at("name") == column;
    if (mean.at("paper") != table.at("paper") || !named) continue;
    std::string note = fmt::format(
        "not measured: a mean over benchmarks that the table does not name; here are {}, by --benchmark; the paper's model and "
        "training data are not published",
        fmt::join(mean.at("here").get<std::vector<std::string>>(), ", "));
    if (mean.contains("missing")) note += "; " + mean["missing"].get<std::string>();
    return note;
  }
  return "";
}

void measure(ReportRow& line, const Json& table, const ColumnMetric& metric,
             const std::vector<ResultRun>& runs, const std::optional<std::string>& never, uint64_t seed) {
  std::string others;
  for (const ResultRun& run : runs) {
    if (run.benchmark->name != metric.benchmark || !is_method(run.scheme, line.method) ||
        run.distractor_tokens != metric.distractor_tokens) {
      continue;
    }
    const auto figure = measured_figure(run, metric, seed);
    if (!figure) continue;
    const SplitUse use = split_use(run);
    if (never || line.measured) {  // another split, or one more run of the same method
      others =
          joined(others, fmt::format("run {} measures {:.2f} on {}", run.name, figure->percent, use.text));
      continue;
    }
    line.run = run.name;
    line.measured = figure->percent;
    line.interval = figure->interval;
    line.units = figure->units;
    line.profile = run.summary.value("profile", "paper");
    line.policy = policy_of(run);
    line.split = use.text;
    line.whole_split = use.whole;
    const double share = std::clamp(figure->percent / 100, 0.0, 1.0);
    if (!use.whole) {
      line.standard_error = 100 * std::sqrt(share * (1 - share) / static_cast<double>(figure->units));
    }
    line.why = reasons(run, table, line);
  }
  line.why = never ? joined(*never, others) : joined(line.why, others);
}

bool is_average(const std::string& column) { return column == "Avg" || column == "avg"; }

/// The average of a table's row: only of figures that were all measured on their whole splits.
void fill_average(std::vector<ReportRow>& rows, size_t first) {
  double sum = 0;
  ReportRow* average = nullptr;
  std::vector<std::string> never, missing, partly;
  int64_t columns = 0;
  for (size_t i = first; i < rows.size(); ++i) {
    ReportRow& row = rows[i];
    if (is_average(row.column)) {
      average = &row;
      continue;
    }
    ++columns;
    sum += row.measured.value_or(0);
    if (row.why.rfind("cannot be measured", 0) == 0) {
      never.push_back(row.column);
    } else if (!row.measured) {
      missing.push_back(row.column);
    } else if (!row.whole_split) {
      partly.push_back(row.column);
    }
  }
  if (average == nullptr) return;
  average->why = fmt::format("mean of the {} columns beside it", columns);
  if (!never.empty()) average->why += fmt::format("; cannot be measured: {}", fmt::join(never, ", "));
  if (!missing.empty()) average->why += fmt::format("; not measured: {}", fmt::join(missing, ", "));
  if (!partly.empty()) average->why += fmt::format("; not on the whole split: {}", fmt::join(partly, ", "));
  if (!never.empty() || !missing.empty() || !partly.empty()) return;
  average->measured = sum / static_cast<double>(columns);
  average->units = columns;
  average->whole_split = true;
  average->split = "whole, every column";
  average->profile = rows[first].profile;
  average->policy = rows[first].policy;
}

/// In the printed order.
std::vector<std::string> columns_of(const Json& table, const Json& values) {
  std::vector<std::string> columns;
  for (const Json& column : table.value("columns", Json::array())) {
    if (column.is_string() && values.contains(column.get<std::string>())) columns.push_back(column);
  }
  if (!columns.empty()) return columns;
  for (const auto& [column, value] : values.items()) columns.push_back(column);
  std::stable_sort(columns.begin(), columns.end(), [](const std::string& a, const std::string& b) {
    return std::atoi(a.c_str()) < std::atoi(b.c_str());  // distances: 0K, 1K, ...
  });
  return columns;
}

std::string text_of(const Json& row, const std::vector<const char*>& keys) {
  for (const char* key : keys) {
    if (row.contains(key) && row[key].is_string()) return row[key];
  }
  return "";
}

}  // namespace

std::string table_name(const Json& table) {
  return table.at("paper").get<std::string>() + ":" + table.at("table").get<std::string>();
}

std::optional<int64_t> published_questions(const Benchmark& benchmark) {
  const size_t colon = benchmark.data.find(": ");
  if (colon == std::string::npos) return std::nullopt;
  int64_t questions = 0;
  const char* const end = benchmark.data.data() + benchmark.data.size();
  const auto parsed = std::from_chars(benchmark.data.data() + colon + 2, end, questions);
  return parsed.ec == std::errc() ? std::optional(questions) : std::nullopt;
}

std::vector<ReportRow> table_rows(const Json& paper, const Json& table, const std::vector<ResultRun>& runs,
                                  uint64_t seed) {
  std::vector<ReportRow> rows;
  for (const Json& row : table.at("rows")) {
    const Json values = row.contains("values") ? row["values"] : Json{{"value", row.value("value", Json())}};
    const size_t first = rows.size();
    for (const std::string& column : columns_of(table, values)) {
      ReportRow line;
      line.table = table_name(table);
      line.model = text_of(row, {"model", "benchmark"});
      line.method = text_of(row, {"method", "design", "category", "allocation", "name"});
      line.column = column;
      if (values[column].is_number()) line.paper = values[column].get<double>();
      if (const auto metric = metric_of(table, row, column)) {
        measure(line, table, *metric, runs, unmeasurable(paper, line, *metric), seed);
        if (line.why.empty()) line.why = "not measured: no such run of " + metric->benchmark;
      } else {
        line.why = mean_note(paper, table, row, column);
        if (line.why.empty()) line.why = why_no_run(line);
      }
      line.why = joined(line.why, oddity(paper, table, row, line));
      rows.push_back(std::move(line));
    }
    fill_average(rows, first);
  }
  return rows;
}

std::vector<std::string> table_notes(const Json& paper, const Json& table) {
  const std::string name = table_name(table);
  const std::string place = fmt::format("Paper {}, table {}: ", table.at("paper").get<std::string>(),
                                        table.at("table").get<std::string>());
  std::vector<std::string> notes;
  for (const char* key : {"avg_rule", "note", "check", "read_off"}) {
    if (table.contains(key) && table[key].is_string()) {
      notes.push_back(place + (std::string(key) == "avg_rule" ? "the average is the " : "") +
                      table[key].get<std::string>() + ".");
    }
  }
  if (name == "001:1") {
    notes.push_back(
        place +
        "MME in one figure is (perception + cognition)/28; the paper does not say how it makes one "
        "figure of two.");
  }
  if (name.rfind("001:", 0) == 0) {
    const Json& counts = paper.at("derived_counts");
    notes.push_back(fmt::format(
        "{}the MMBench figures of the Qwen models cannot be measured: they fit the {} questions of the test "
        "split, whose answers are not public, not the {} of dev, which the Vicuna figures fit.",
        place, counts.at("qwen_mmbench").at("n").get<int64_t>(),
        counts.at("vicuna_mmbench").at("n").get<int64_t>()));
  }
  for (const Json& misfit : paper.at("derived_counts").value("misfit", Json::array())) {
    if (name != "001:" + misfit.value("table", "")) continue;
    notes.push_back(fmt::format("{}{}, {}, {:.2f}: {}.", place, misfit.value("column", ""),
                                misfit.value("row", ""), misfit.value("printed", 0.0),
                                misfit.value("remark", "")));
  }
  if (name == kDistances) {
    notes.push_back(fmt::format(
        "{}--profile vlmevalkit asks and scores as the paper did, except for answers that its judge model read (MathVista, "
        "letters that no rule finds): such figures are marked {} until ropescope score has a judge's replies.",
        place, kPrefetchOnly));
  }
  if (name.rfind("002:", 0) == 0 && name != "002:text") {
    notes.push_back(place +
                    "cannot be measured: its means are over benchmarks that the paper gives no figures of.");
  }
  if (name == "002:2") {
    notes.push_back(
        place +
        "the Image means are over another set of benchmarks than those of table 4; the two cannot "
        "be compared.");
  }
  return notes;
}

}  // namespace ropescope::eval
