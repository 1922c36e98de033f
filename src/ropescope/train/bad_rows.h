// Rows that cannot be trained on: counted, named in a log, left out, up to a limit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>

namespace ropescope {

class BadRows {
 public:
  /// `log`: a text file that gets a line for each row, its name and the reason; empty: none. What an earlier
  /// run wrote there stays, and no row is named twice.
  explicit BadRows(int64_t limit = 0, std::filesystem::path log = {});

  /// `reason` is a sentence that names the row. Throws InputError with it where the limit is passed.
  void add(const std::string& name, const std::string& reason);
  int64_t count() const { return static_cast<int64_t>(names_.size()); }

 private:
  void write(const std::string& name, const std::string& reason);

  int64_t limit_;
  std::filesystem::path log_;
  std::set<std::string> names_;         // found by this process
  std::set<std::string> logged_lines_;  // in the file
};

}  // namespace ropescope
