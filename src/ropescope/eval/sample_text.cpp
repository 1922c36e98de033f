#include "ropescope/eval/sample_text.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace ropescope::eval {

std::string json_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true);
}

namespace {

/// Answers of several people, each once: "no ×3, yes ×7".
std::string answers_text(const Json& list) {
  std::vector<std::pair<std::string, int64_t>> counts;
  for (const Json& entry : list) {
    const std::string answer = json_text(entry.is_object() ? entry.value("answer", Json("")) : entry);
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
    if (index < doc[column].size()) return " (" + json_text(doc[column][index]) + ")";
  }
  return "";
}

}  // namespace

std::string gold_text(const Json& doc) {
  for (const char* column : {"answer", "answers", "bbox", "timestamp"}) {
    if (!doc.contains(column)) continue;
    const Json& value = doc[column];
    if (value.is_array() && !value.empty() && !value.front().is_number()) return answers_text(value);
    return json_text(value) + option_text(doc, json_text(value));
  }
  return "";
}

}  // namespace ropescope::eval
