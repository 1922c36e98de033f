#include "ropescope/eval/mmbench_columns.h"

#include <algorithm>
#include <charconv>

namespace ropescope::eval {

std::string ascii_lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return text;
}

std::optional<int64_t> parse_row_index(const std::string& text) {
  int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = code == std::errc() && end == text.data() + text.size() && !text.empty();
  return whole ? std::optional<int64_t>(value) : std::nullopt;
}

MmbenchColumns::MmbenchColumns(const std::vector<std::string>& header) {
  for (const std::string& name : header) names_.push_back(ascii_lower(name));
  for (char letter = 'a'; letter <= 'z'; ++letter) {
    const auto column = find(std::string(1, letter));
    if (column) options_.emplace_back(std::string(1, static_cast<char>(letter - 32)), *column);
  }
}

std::optional<size_t> MmbenchColumns::find(const std::string& lower_case_name) const {
  const auto found = std::find(names_.begin(), names_.end(), lower_case_name);
  if (found == names_.end()) return std::nullopt;
  return static_cast<size_t>(found - names_.begin());
}

std::optional<std::string> MmbenchColumns::missing() const {
  for (const char* name : {"index", "question", "A", "B", "answer", "image"}) {
    if (find(ascii_lower(name))) continue;
    if (std::string(name) == "answer" && find("split")) continue;
    return name;
  }
  return std::nullopt;
}

std::string MmbenchColumns::cell(const std::vector<std::string>& record,
                                 const std::string& lower_case_name) const {
  const auto column = find(lower_case_name);
  return column && *column < record.size() ? record[*column] : std::string();
}

}  // namespace ropescope::eval
