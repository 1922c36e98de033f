// Rows that cannot be trained on: counted, named in a log, left out, up to a limit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "ropescope/core/errors.h"

namespace ropescope {

class TooManyBadRows : public InputError {
 public:
  using InputError::InputError;
};

class BadRows {
 public:
  /// `log`: a text file that gets a line for each row, its name and the reason; empty: none. What an earlier
  /// run wrote there stays, and no row is named twice.
  explicit BadRows(int64_t limit = 0, std::filesystem::path log = {});

  /// `reason` is a sentence that names the row. Throws TooManyBadRows with it where the limit is
  /// passed.
  void add(const std::string& name, const std::string& reason);
  int64_t count() const { return static_cast<int64_t>(reasons_.size()); }
  /// By name.
  const std::map<std::string, std::string>& reasons() const { return reasons_; }

 private:
  void write(const std::string& name, const std::string& reason);

  int64_t limit_;
  std::filesystem::path log_;
  std::map<std::string, std::string> reasons_;  // found by this process
  std::set<std::string> logged_lines_;          // in the file
};

}  // namespace ropescope
