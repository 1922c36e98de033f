#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/sha256.h"
#include "ropescope/eval/base64.h"
#include "ropescope/eval/report_page.h"
#include "ropescope/eval/sample_text.h"

namespace ropescope::eval {

namespace {

Json interval_json(const std::optional<Interval>& interval) {
  return interval && interval->known() ? Json{interval->low, interval->high} : Json(nullptr);
}

template <typename T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

/// What kind of question it is, in the data's own words.
std::string kind_text(const Json& doc) {
  std::string text;
  for (const char* column :
       {"category", "l2-category", "L2-category", "l2_category", "type", "question_image_type", "task"}) {
    if (doc.contains(column) && doc[column].is_string()) {
      text += (text.empty() ? "" : ", ") + doc[column].get<std::string>();
    }
  }
  return text;
}

Json run_json(const ResultRun& run) {
  const auto figure = figure_of(run, 0);
  return {{"name", run.name},
          {"benchmark", run.benchmark->name},
          {"model", run.summary.value("model", Json(""))},
          {"scheme", run.scheme},
          {"profile", profile_of(run)},
          {"policy", policy_of(run)},
          {"items", run.summary.value("items", Json(0))},
          {"failed", run.summary.value("failed", Json(0))},
          {"percent", figure ? Json(figure->percent) : Json(nullptr)},
          {"interval", figure ? interval_json(figure->interval) : Json(nullptr)}};
}

Json answer_json(const Json& sample, const std::string& prompt, const std::vector<PageMap>* maps) {
  Json answer = {{"output", sample.value("output", Json(""))}, {"score", sample.at("score")}};
  const Json extracted = sample.value("extracted", Json());
  if (!extracted.is_null()) answer["read"] = json_text(extracted);
  if (sample.contains("error")) answer["error"] = json_text(sample["error"]);
  if (sample.value("prompt", Json("")) != prompt) answer["prompt"] = sample.value("prompt", Json(""));
  if (maps != nullptr) {
    answer["maps"] = Json::array();
    for (const PageMap& map : *maps) {
      answer["maps"].push_back({{"picture", map.picture}, {"caption", map.caption}});
    }
  }
  return answer;
}

Json set_json(const PageSet& set, const Report& report, const ReportPage& page) {
  std::map<int64_t, Json> items;
  for (const auto& [record, of_page] : set.items) {
    items[record] = {{"record", record}, {"pictures", of_page.pictures}, {"answers", Json::array()}};
    if (!of_page.note.empty()) items[record]["note"] = of_page.note;
    for (size_t i = 0; i < set.runs.size(); ++i) items[record]["answers"].push_back(nullptr);
  }
  for (size_t i = 0; i < set.runs.size(); ++i) {
    for (const Json& sample : report.runs[set.runs[i]].samples) {
      const auto record = sample.at("record").get<int64_t>();
      Json& item = items[record];
      if (!item.contains("prompt")) {
        item["prompt"] = sample.value("prompt", Json(""));
        item["gold"] = gold_text(sample.at("doc"));
        item["kind"] = kind_text(sample.at("doc"));
      }
      const auto maps = page.maps.find({set.runs[i], record});
      item["answers"][i] =
          answer_json(sample, item["prompt"], maps == page.maps.end() ? nullptr : &maps->second);
    }
  }
  Json list = Json::array();
  for (auto& [record, item] : items) list.push_back(std::move(item));
  return {{"name", set.name}, {"runs", set.runs}, {"items", list}, {"notes", set.notes}};
}

/// JSON that may stand inside a <script> element: ASCII without the character that could end it.
std::string script_json(const Json& json) {
  std::string out;
  for (const char c : json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace)) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

std::string digest_base64(const std::string& text) {
  Sha256 hash;
  hash.add(text.data(), text.size());
  const std::string hex = hash.finish();
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return encode_base64(bytes);
}

Json rows_json(const Report& report) {
  Json rows = Json::array();
  for (const ReportRow& row : report.rows) {
    rows.push_back({{"table", row.table},
                    {"model", row.model},
                    {"method", row.method},
                    {"column", row.column},
                    {"paper", optional_json(row.paper)},
                    {"measured", optional_json(row.measured)},
                    {"interval", interval_json(row.interval)},
                    {"standard_error", optional_json(row.standard_error)},
                    {"n", row.measured ? Json(row.units) : Json(nullptr)},
                    {"profile", row.profile},
                    {"policy", row.policy},
                    {"split", row.split},
                    {"why", row.why}});
  }
  return rows;
}

Json comparisons_json(const Report& report) {
  Json comparisons = Json::array();
  for (const Comparison& pair : report.comparisons) {
    comparisons.push_back({{"benchmark", pair.benchmark},
                           {"a", pair.a},
                           {"b", pair.b},
                           {"difference", pair.difference},
                           {"interval", interval_json(pair.interval)},
                           {"n", pair.units},
                           {"only_a", optional_json(pair.only_a)},
                           {"only_b", optional_json(pair.only_b)},
                           {"p", optional_json(pair.p)}});
  }
  return comparisons;
}

// ---- what stands in the page before, or without, its script

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

using Cells = std::vector<std::string>;

std::string plain_table(const std::string& title, const Cells& heads, const std::vector<Cells>& rows) {
  std::string out = "<h2>" + escaped(title) + "</h2>\n<div class=\"wide\"><table><thead><tr>";
  for (const std::string& head : heads) out += "<th>" + escaped(head) + "</th>";
  out += "</tr></thead><tbody>\n";
  for (const Cells& row : rows) {
    out += "<tr>";
    for (const std::string& cell : row) out += "<td>" + (cell.empty() ? "–" : escaped(cell)) + "</td>";
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string plain_tables(const Report& report) {
  std::vector<Cells> runs, pairs, rows;
  for (const ResultRun& run : report.runs) {
    const auto figure = figure_of(run, 0);
    runs.push_back(
        {run.name, run.benchmark->name, json_text(run.summary.value("model", Json(""))), run.scheme,
         profile_of(run), policy_of(run), json_text(run.summary.value("items", Json(0))),
         json_text(run.summary.value("failed", Json(0))), figure ? number_text(figure->percent) : "",
         figure ? interval_text(figure->interval) : ""});
  }
  for (const Comparison& pair : report.comparisons) {
    pairs.push_back({pair.benchmark, pair.a, pair.b, fmt::format("{:+.2f}", pair.difference),
                     interval_text(pair.interval), std::to_string(pair.units),
                     pair.only_a ? std::to_string(*pair.only_a) : "",
                     pair.only_b ? std::to_string(*pair.only_b) : "",
                     pair.p ? fmt::format("{:.4f}", *pair.p) : ""});
  }
  for (const ReportRow& row : report.rows) {
    rows.push_back({row.table, row.model, row.method, row.column, number_text(row.paper),
                    number_text(row.measured), difference_text(row.paper, row.measured),
                    interval_text(row.interval), row.measured ? std::to_string(row.units) : "", row.split,
                    row.why});
  }
  std::string out = "<h1>Paper and measurement</h1>\n";
  out += plain_table("Runs",
                     {"run", "benchmark", "model", "scheme", "profile", "policy", "items", "failed",
                      "percent", "95 % interval"},
                     runs);
  if (!pairs.empty()) {
    out += plain_table("Runs on the same questions",
                       {"benchmark", "a", "b", "b − a, points", "95 % interval (paired bootstrap)", "n",
                        "only a right", "only b right", "McNemar p"},
                       pairs);
  }
  if (!rows.empty()) {
    out += plain_table("Beside the papers",
                       {"table", "model", "method", "column", "paper", "measured", "difference",
                        "95 % interval", "n", "split used", "why"},
                       rows);
  }
  if (!report.notes.empty()) out += "<h2>Notes</h2>\n<ul>\n";
  for (const std::string& note : report.notes) out += "<li>" + escaped(note) + "</li>\n";
  if (!report.notes.empty()) out += "</ul>\n";
  return out + "<p>Figures and the items, one by one, are shown by the page's own script.</p>\n";
}

}  // namespace

std::string report_html(const Report& report, const ReportPage& page) {
  Json runs = Json::array(), sets = Json::array(), pictures = Json::array();
  for (const ResultRun& run : report.runs) runs.push_back(run_json(run));
  for (const PageSet& set : page.sets) sets.push_back(set_json(set, report, page));
  for (const PagePicture& picture : page.pictures) {
    pictures.push_back({picture.uri, picture.width, picture.height});
  }
  const Json all = {{"runs", runs},
                    {"rows", rows_json(report)},
                    {"comparisons", comparisons_json(report)},
                    {"notes", report.notes},
                    {"sets", sets},
                    {"figures", page.figures}};
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
      "'unsafe-inline'; script-src 'sha256-{}'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n"
      "<title>Paper and measurement</title>\n<style>{}</style></head><body>\n"
      "<main id=\"main\">\n{}</main>\n"
      "<script type=\"application/json\" id=\"report\">{}</script>\n"
      "<script type=\"application/json\" id=\"pictures\">{}</script>\n"
      "<script>{}</script>\n</body></html>\n",
      digest_base64(kPageScript), kPageStyle, plain_tables(report), script_json(all), script_json(pictures),
      kPageScript);
}

}  // namespace ropescope::eval
