#include "ropescope/core/log.h"

#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

namespace ropescope {

namespace {

bool quiet = false;

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto created = spdlog::stderr_color_mt("ropescope");
    created->set_pattern("%^%l%$: %v");
    return created;
  }();
  return *instance;
}

std::string format_duration(double seconds) {
  const auto total = static_cast<int64_t>(std::llround(seconds));
  if (total < 60) return fmt::format("{}s", total);
  if (total < 3600) return fmt::format("{}m{:02}s", total / 60, total % 60);
  return fmt::format("{}h{:02}m", total / 3600, total % 3600 / 60);
}

}  // namespace

void set_quiet(bool value) { quiet = value; }
bool is_quiet() { return quiet; }

void log_info_message(const std::string& message) {
  if (!quiet) logger().info("{}", message);
}
void log_warning_message(const std::string& message) { logger().warn("{}", message); }

Progress::Progress(std::string what, std::string unit, int64_t total)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_draw_(start_) {}

Progress::~Progress() { finish(); }

void Progress::advance(int64_t count) {
  done_ += count;
  if (done_ > total_) total_ = 0;
  const auto interval = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000);
  if (Clock::now() - last_draw_ >= interval) draw(false);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (done_ > 0 || drawn_) draw(true);
}

void Progress::draw(bool last) {
  last_draw_ = Clock::now();
  if (quiet) return;
  drawn_ = true;
  const double elapsed = std::chrono::duration<double>(last_draw_ - start_).count();
  const double rate = elapsed > 0 ? static_cast<double>(done_) / elapsed : 0.0;
  std::string line = fmt::format("{}: {}", what_, done_);
  if (total_ > 0) line += fmt::format("/{}", total_);
  line += fmt::format(" {} ({:.3g} {}/s", unit_, rate, unit_);
  if (last) {
    line += fmt::format(", {})", format_duration(elapsed));
  } else if (total_ > 0 && rate > 0) {
    line += fmt::format(", {} left)", format_duration(static_cast<double>(total_ - done_) / rate));
  } else {
    line += ")";
  }
  if (terminal_) {
    if (total_ > 0) {
      constexpr int kWidth = 24;
      const int filled = static_cast<int>(kWidth * done_ / total_);
      std::string bar(static_cast<size_t>(kWidth), ' ');
      for (int i = 0; i < filled && i < kWidth; ++i) bar[static_cast<size_t>(i)] = '#';
      line = fmt::format("[{}] {}", bar, line);
    }
    fmt::print(stderr, "\r\033[K{}{}", line, last ? "\n" : "");
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  std::fflush(stderr);
}

}  // namespace ropescope
