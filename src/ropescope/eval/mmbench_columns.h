// The columns of a VLMEvalKit file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ropescope::eval {

/// ASCII letters lowered, as header names are compared.
std::string ascii_lower(std::string text);
/// The integer that is the whole of `text`.
std::optional<int64_t> parse_row_index(const std::string& text);

/// An image cell of at most so many characters is the index of another row.
inline constexpr size_t kLongestReference = 64;

/// Column numbers by header name, whose case does not count.
class MmbenchColumns {
 public:
  explicit MmbenchColumns(const std::vector<std::string>& header);

  size_t count() const { return names_.size(); }
  std::optional<size_t> find(const std::string& lower_case_name) const;
  /// Single letters, in the order of the alphabet: {"A", column}.
  const std::vector<std::pair<std::string, size_t>>& options() const { return options_; }
  /// The first that is missing of index, question, A, B, answer, image; none if all are there. `answer` may
  /// be missing where a `split` can say `test`.
  std::optional<std::string> missing() const;

  /// A cell; empty where there is no such column.
  std::string cell(const std::vector<std::string>& record, const std::string& lower_case_name) const;

 private:
  std::vector<std::string> names_;  // lower case
  std::vector<std::pair<std::string, size_t>> options_;
};

}  // namespace ropescope::eval
