// Tab separated files as Python's csv module reads them: `"` quotes a field, `""` inside is one `"`, quoted
// fields may hold tabs and newlines. Read in pieces: memory is that of one record.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace ropescope::eval {

class TsvReader {
 public:
  /// A byte order mark in front is skipped. Throws InputError if the file cannot be read.
  explicit TsvReader(const std::filesystem::path& path);

  /// The next record; false at the end of the file. Empty lines are no records. Throws InputError for a
  /// record of more than kMostRecordBytes.
  bool next(std::vector<std::string>& fields);

  /// The end came inside quotes: the record that began there was not given.
  bool unclosed_quote() const { return unclosed_quote_; }
  /// Where the record that next() gave last begins, for seek().
  uint64_t record_offset() const { return record_offset_; }
  void seek(uint64_t offset);

  static constexpr size_t kMostRecordBytes = size_t{1} << 28;

 private:
  /// The next byte, or -1.
  int get();
  int peek();

  std::string name_;
  std::ifstream stream_;
  std::string block_;
  size_t at_ = 0;              ///< in block_
  uint64_t block_offset_ = 0;  ///< of block_ in the file
  uint64_t record_offset_ = 0;
  bool unclosed_quote_ = false;
};

}  // namespace ropescope::eval
