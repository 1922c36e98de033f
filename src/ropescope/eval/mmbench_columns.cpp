#include "ropescope/eval/mmbench_columns.h"

#include <algorithm>

namespace ropescope::eval {

namespace {

std::string lowered(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return text;
}

}  // namespace

MmbenchColumns::MmbenchColumns(const std::vector<std::string>& header) {
  for (const std::string& name : header) names_.push_back(lowered(name));
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
    if (find(lowered(name))) continue;
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
