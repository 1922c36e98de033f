// Is a file text? What every reader of plain text asks before it believes a byte.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace ropescope {

/// Repairs the text of one file piece by piece, and keeps count of what was repaired.
class TextFile {
 public:
  /// Reads the first and last bytes. Throws InputError for a file of a known binary form (parquet, pictures, archives,
  /// programs, UTF-16, ...), which says what to do instead.
  explicit TextFile(std::filesystem::path path);

  /// `text` in UTF-8: each maximal broken part becomes one U+FFFD and is counted. Throws InputError for a NUL byte, which
  /// no text has, and where a tenth of a longer file was broken. `line`: from 1; 0 where lines are not counted.
  std::string repaired(std::string text, size_t line = 0);

  /// One warning with the number of broken parts, if there were any.
  void report() const;

 private:
  std::filesystem::path path_;
  size_t bytes_ = 0, broken_ = 0, first_line_ = 0;
};

}  // namespace ropescope
