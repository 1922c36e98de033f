// A table on stdout: aligned for people, Markdown for reports, CSV for scripts.
#pragma once

#include <string>
#include <vector>

namespace ropescope::app {

enum class TableStyle { kAligned, kMarkdown, kCsv };

/// One line of CSV with its end; cells with commas, quotes or line ends are quoted (RFC 4180).
std::string csv_line(const std::vector<std::string>& cells);

class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : rows_{std::move(header)} {}
  /// One cell for every column of the header.
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text(TableStyle style) const;

 private:
  std::vector<std::vector<std::string>> rows_;  // the header first
};

}  // namespace ropescope::app
