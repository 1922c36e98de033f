#include "text_table.h"

#include <algorithm>

namespace ropescope::app {

namespace {

size_t letters(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string csv_cell(const std::string& cell) {
  if (cell.find_first_of(",\"\n\r") == std::string::npos) return cell;
  std::string quoted = "\"";
  for (const char c : cell) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

bool is_number(const std::string& cell) {
  return cell.find_first_not_of("0123456789.-+e…() %") == std::string::npos;
}

}  // namespace

std::string csv_line(const std::vector<std::string>& cells) {
  std::string line;
  for (size_t c = 0; c < cells.size(); ++c) line += (c == 0 ? "" : ",") + csv_cell(cells[c]);
  return line + "\n";
}

std::string TextTable::text(TableStyle style) const {
  const size_t columns = rows_.front().size();
  std::vector<size_t> widths(columns, 0);
  std::vector<bool> right(columns, rows_.size() > 1);
  for (size_t r = 0; r < rows_.size(); ++r) {
    for (size_t c = 0; c < columns; ++c) {
      widths[c] = std::max(widths[c], letters(rows_[r][c]));
      if (r > 0) right[c] = right[c] && is_number(rows_[r][c]);
    }
  }
  std::string result;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < columns; ++c) {
      const std::string& cell = rows_[r][c];
      if (style == TableStyle::kCsv) {
        line += (c == 0 ? "" : ",") + csv_cell(cell);
      } else if (style == TableStyle::kMarkdown) {
        line += "| " + cell + " ";
      } else {
        const std::string space(widths[c] - letters(cell), ' ');
        line += (c == 0 ? "" : "  ") + (right[c] ? space + cell : cell + space);
      }
    }
    if (style == TableStyle::kMarkdown) line += "|";
    line.erase(line.find_last_not_of(' ') + 1);
    result += line + "\n";
    if (style == TableStyle::kMarkdown && r == 0) {
      for (size_t c = 0; c < columns; ++c) result += right[c] ? "| ---: " : "| --- ";
      result += "|\n";
    }
  }
  return result;
}

}  // namespace ropescope::app
