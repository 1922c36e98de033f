#include "ropescope/train/bad_rows.h"

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>

#include "ropescope/core/log.h"

namespace ropescope {

namespace {

/// One line, whatever a file's names hold.
std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return text;
}

}  // namespace

BadRows::BadRows(int64_t limit, std::filesystem::path log) : limit_(limit), log_(std::move(log)) {
  std::ifstream earlier(log_);
  for (std::string line; std::getline(earlier, line);) logged_lines_.insert(line);
}

void BadRows::write(const std::string& name, const std::string& reason) {
  if (log_.empty()) return;
  const std::string line = one_line(name) + "\t" + one_line(reason);
  if (!logged_lines_.insert(line).second) return;
  std::error_code ignored;
  if (log_.has_parent_path()) std::filesystem::create_directories(log_.parent_path(), ignored);
  std::ofstream file(log_, std::ios::app);
  file << line << "\n" << std::flush;
  if (!file) throw EnvironmentError("{}: cannot be written", log_.string());
}

void BadRows::add(const std::string& name, const std::string& reason) {
  if (!reasons_.emplace(name, reason).second) return;
  write(name, reason);
  if (count() > limit_) {
    throw TooManyBadRows("{}. Bad rows: {}, --max-bad-rows allows {}", reason, count(), limit_);
  }
  log_warning("{}: left out", reason);
}

}  // namespace ropescope
