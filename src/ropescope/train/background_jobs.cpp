#include "ropescope/train/background_jobs.h"

#include <utility>

#include <ATen/Parallel.h>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace ropescope {

BackgroundJobs::~BackgroundJobs() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

BackgroundJobs::Ticket BackgroundJobs::add(std::function<void()> job) {
  const std::lock_guard lock(mutex_);
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
  jobs_.push_back(std::move(job));
  changed_.notify_all();
  return ++asked_;
}

bool BackgroundJobs::done(Ticket ticket) const {
  const std::lock_guard lock(mutex_);
  return done_ >= ticket;
}

void BackgroundJobs::wait(Ticket ticket) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ >= ticket || error_; });
  if (done_ < ticket) std::rethrow_exception(error_);
}

bool BackgroundJobs::idle() const {
  const std::lock_guard lock(mutex_);
  return rests();
}

void BackgroundJobs::wait_until_idle() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return rests(); });
}

void BackgroundJobs::work() {
#ifdef _OPENMP
  at::internal::lazy_init_num_threads();  // which would set the number of all threads later
  omp_set_num_threads(1);                 // of this thread's own team: the others have arithmetic to do
#endif
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || (!jobs_.empty() && !error_); });
    if (stop_) return;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    busy_ = true;
    lock.unlock();
    std::exception_ptr error;
    try {
      job();
    } catch (...) {
      error = std::current_exception();
    }
    job = nullptr;
    lock.lock();
    busy_ = false;
    if (error) {
      error_ = error;
    } else {
      ++done_;
    }
    changed_.notify_all();
  }
}

}  // namespace ropescope
