// Work that one thread does in the order in which it was asked for, while whoever asked goes on with something else.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace ropescope {

/// Asked and waited for by one thread.
class BackgroundJobs {
 public:
  using Ticket = int64_t;

  BackgroundJobs() = default;
  /// Waits for the job under way; does not begin others.
  ~BackgroundJobs();
  BackgroundJobs(const BackgroundJobs&) = delete;
  BackgroundJobs& operator=(const BackgroundJobs&) = delete;

  Ticket add(std::function<void()> job);
  bool done(Ticket ticket) const;
  /// Until that job is done. Throws what a job before it, or itself, has thrown: after that none is begun.
  void wait(Ticket ticket);
  /// Whether no job is under way and none will be begun.
  bool idle() const;
  void wait_until_idle();

 private:
  void work();
  bool rests() const { return !busy_ && (jobs_.empty() || error_); }

  mutable std::mutex mutex_;  // of everything but the thread itself
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  Ticket asked_ = 0, done_ = 0;
  bool busy_ = false, stop_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // from the first job on
};

}  // namespace ropescope
