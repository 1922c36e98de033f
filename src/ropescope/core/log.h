// Log lines and progress bars on stderr. stdout is left to results.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include <fmt/format.h>

namespace ropescope {

/// Turns off information lines and progress (`--quiet`); warnings stay.
void set_quiet(bool quiet);
bool is_quiet();

void log_info_message(const std::string& message);
void log_warning_message(const std::string& message);

template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_info_message(fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_warning_message(fmt::format(format, std::forward<Args>(args)...));
}

/// A bar with rate and remaining time on a terminal; elsewhere one plain line every ten seconds and one at
/// the end. Nothing at all when quiet. One thread updates it.
class Progress {
 public:
  /// `what`: "sampling"; `unit`: "texts". `total` <= 0: unknown, and so it is
  /// once more than the total has been done: of work that processes share, one may do more than its part.
  Progress(std::string what, std::string unit, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(int64_t count = 1);
  /// Ends the line early; the destructor does it otherwise.
  void finish();

 private:
  void draw(bool last);

  using Clock = std::chrono::steady_clock;
  std::string what_;
  std::string unit_;
  int64_t total_;
  int64_t done_ = 0;
  bool terminal_;
  bool finished_ = false;
  bool drawn_ = false;
  Clock::time_point start_;
  Clock::time_point last_draw_;
};

}  // namespace ropescope
