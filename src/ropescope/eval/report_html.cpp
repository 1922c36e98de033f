#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/sha256.h"
#include "ropescope/eval/base64.h"
#include "ropescope/eval/report_page.h"

namespace ropescope::eval {

namespace {

Json interval_json(const std::optional<Interval>& interval) {
  return interval ? Json{interval->low, interval->high} : Json(nullptr);
}

template <typename T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::string plain_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true);
}

/// Answers of several people, each once: "no ×3, yes ×7".
std::string answers_text(const Json& list) {
  std::vector<std::pair<std::string, int64_t>> counts;
  for (const Json& entry : list) {
    const std::string answer = plain_text(entry.is_object() ? entry.value("answer", Json("")) : entry);
    const auto known =
        std::find_if(counts.begin(), counts.end(), [&](const auto& count) { return count.first == answer; });
    if (known == counts.end()) {
      counts.emplace_back(answer, 1);
    } else {
      ++known->second;
    }
  }
  std::string text;
  for (const auto& [answer, count] : counts) {
    text += (text.empty() ? "" : ", ") + answer + (count > 1 ? fmt::format(" ×{}", count) : "");
  }
  return text;
}

/// The text of an option that is named by its number.
std::string option_text(const Json& doc, const std::string& answer) {
  for (const char* column : {"options", "choices"}) {
    if (!doc.contains(column) || !doc[column].is_array()) continue;
    size_t index = 0;
    const auto parsed = std::from_chars(answer.data(), answer.data() + answer.size(), index);
    if (parsed.ec != std::errc() || parsed.ptr != answer.data() + answer.size()) continue;
    if (index < doc[column].size()) return " (" + plain_text(doc[column][index]) + ")";
  }
  return "";
}

std::string gold_text(const Json& doc) {
  for (const char* column : {"answer", "answers", "bbox"}) {
    if (!doc.contains(column)) continue;
    const Json& value = doc[column];
    if (value.is_array() && !value.empty() && !value.front().is_number()) return answers_text(value);
    return plain_text(value) + option_text(doc, plain_text(value));
  }
  return "";
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
          {"profile", run.summary.value("profile", Json(""))},
          {"policy", run.summary.value("policy", Json(""))},
          {"items", run.summary.value("items", Json(0))},
          {"failed", run.summary.value("failed", Json(0))},
          {"percent", figure ? Json(figure->percent) : Json(nullptr)},
          {"interval", figure ? interval_json(figure->interval) : Json(nullptr)}};
}

Json answer_json(const Json& sample, const std::string& prompt, const std::vector<PageMap>* maps) {
  Json answer = {{"output", sample.value("output", Json(""))}, {"score", sample.at("score")}};
  const Json extracted = sample.value("extracted", Json());
  if (!extracted.is_null()) answer["read"] = plain_text(extracted);
  if (sample.contains("error")) answer["error"] = plain_text(sample["error"]);
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
      "<main id=\"main\"><noscript>This page shows its tables and items by a script of its "
      "own.</noscript></main>\n"
      "<script type=\"application/json\" id=\"report\">{}</script>\n"
      "<script type=\"application/json\" id=\"pictures\">{}</script>\n"
      "<script>{}</script>\n</body></html>\n",
      digest_base64(kPageScript), kPageStyle, script_json(all), script_json(pictures), kPageScript);
}

}  // namespace ropescope::eval
