#include <fmt/format.h>

#include "ropescope/eval/judge.h"
#include "ropescope/eval/report.h"

namespace ropescope::eval {

std::string number_text(const std::optional<double>& value) {
  return value ? fmt::format("{:.2f}", *value) : "–";
}

std::string difference_text(const std::optional<double>& paper, const std::optional<double>& measured) {
  return paper && measured ? fmt::format("{:+.2f}", *measured - *paper) : "–";
}

std::string interval_text(const std::optional<Interval>& interval) {
  return interval && interval->known() ? fmt::format("{:.2f} – {:.2f}", interval->low, interval->high) : "–";
}

namespace {

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

/// Cells of Markdown tables hold no bars, no line ends and no markup of their own.
std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      out += ' ';
    } else if (c == '|') {
      out += '/';
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string or_dash(const std::string& text) { return text.empty() ? "–" : cell(text); }

std::string setting(const ResultRun& run, const char* key) {
  const Json value = run.summary.value(key, Json());
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

std::string profile_of(const ResultRun& run) {
  const std::string profile = json_string_or(run.summary, "profile", "paper", run.name);
  return run.summary.contains("judge") ? profile + ", " + kPrefetchOnly : profile;
}

std::string policy_of(const ResultRun& run) {
  return run.benchmark->has_policy ? json_string_or(run.summary, "policy", "exact", run.name) : "";
}

std::string report_markdown(const Report& report) {
  std::string out = "# Paper and measurement\n\n## Runs\n\n";
  out +=
      "| run | benchmark | model | scheme | profile | policy | items | failed | percent | 95 % interval |\n";
  out += "| --- | --- | --- | --- | --- | --- | ---: | ---: | ---: | --- |\n";
  for (const ResultRun& run : report.runs) {
    const auto figure = figure_of(run, 0);
    out += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n", cell(run.name),
                       run.benchmark->name, cell(setting(run, "model")), cell(run.scheme), profile_of(run),
                       or_dash(policy_of(run)), setting(run, "items"), setting(run, "failed"),
                       figure ? number_text(figure->percent) : "–",
                       figure ? interval_text(figure->interval) : "–");
  }
  if (!report.comparisons.empty()) {
    out += "\n## Runs on the same questions\n\n";
    out +=
        "| benchmark | a | b | b − a, points | 95 % interval (paired bootstrap) | n | only a right | only b "
        "right | "
        "McNemar p |\n| --- | --- | --- | ---: | --- | ---: | ---: | ---: | ---: |\n";
    for (const Comparison& pair : report.comparisons) {
      out += fmt::format("| {} | {} | {} | {:+.2f} | {} | {} | {} | {} | {} |\n", pair.benchmark,
                         cell(pair.a), cell(pair.b), pair.difference, interval_text(pair.interval),
                         pair.units, pair.only_a ? std::to_string(*pair.only_a) : "–",
                         pair.only_b ? std::to_string(*pair.only_b) : "–",
                         pair.p ? fmt::format("{:.4f}", *pair.p) : "–");
    }
  }
  std::string table;
  for (const ReportRow& row : report.rows) {
    if (row.table != table) {
      table = row.table;
      out += fmt::format("\n## Paper {}, table {}\n\n", table.substr(0, table.find(':')),
                         table.substr(table.find(':') + 1));
      out +=
          "| model | method | column | paper | measured | difference | 95 % interval | standard error | n | "
          "profile "
          "| policy | split used | why |\n";
      out += "| --- | --- | --- | ---: | ---: | ---: | --- | ---: | ---: | --- | --- | --- | --- |\n";
    }
    out +=
        fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n", cell(row.model),
                    cell(row.method), cell(row.column), number_text(row.paper), number_text(row.measured),
                    difference_text(row.paper, row.measured), interval_text(row.interval),
                    number_text(row.standard_error), row.measured ? std::to_string(row.units) : "–",
                    or_dash(row.profile), or_dash(row.policy), or_dash(row.split), cell(row.why));
  }
  if (!report.notes.empty()) out += "\n## Notes\n\n";
  for (const std::string& note : report.notes) out += "- " + cell(note) + "\n";
  return out;
}

std::string report_csv(const Report& report) {
  std::string out =
      "table,model,method,column,paper,measured,difference,low,high,standard_error,n,run,profile,policy,"
      "split,"
      "whole_split,why\n";
  const auto plain = [](const std::optional<double>& value) {
    return value ? fmt::format("{}", *value) : "";
  };
  for (const ReportRow& row : report.rows) {
    const auto difference =
        row.paper && row.measured ? std::optional<double>(*row.measured - *row.paper) : std::nullopt;
    out += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", row.table,
                       csv_field(row.model), csv_field(row.method), csv_field(row.column), plain(row.paper),
                       plain(row.measured), plain(difference),
                       row.interval && row.interval->known() ? fmt::format("{}", row.interval->low) : "",
                       row.interval && row.interval->known() ? fmt::format("{}", row.interval->high) : "",
                       plain(row.standard_error), row.measured ? std::to_string(row.units) : "",
                       csv_field(row.run), row.profile, row.policy, csv_field(row.split),
                       !row.measured     ? ""
                       : row.whole_split ? "yes"
                                         : "no",
                       csv_field(row.why));
  }
  for (const Comparison& pair : report.comparisons) {
    out += fmt::format(
        "comparison,{},{},{},,,{},{},{},,{},,,,,,{}\n", csv_field(pair.a), csv_field(pair.b), pair.benchmark,
        pair.difference, pair.interval.low, pair.interval.high, pair.units,
        pair.p ? fmt::format("only a {}; only b {}; McNemar p {}", *pair.only_a, *pair.only_b, *pair.p) : "");
  }
  return out;
}

}  // namespace ropescope::eval
