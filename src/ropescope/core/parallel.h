#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>

namespace ropescope {

/// Calls body(i) for every i in [0, count), spread over LibTorch's threads. Each i must write its own output:
/// then the numbers are the same at any thread count.
template <typename Body>
void parallel_for_each(int64_t count, const Body& body) {
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

/// Calls body(begin, end) for chunks that cover [0, count), on at most `threads` threads of its own. For
/// independent pieces of milliseconds on a machine that may be busy: nobody waits for a share that was given
/// to a thread which does not run, and no thread spins at the end, as OpenMP's do.
template <typename Body>
void parallel_chunks(int64_t count, int64_t chunk, int threads, const Body& body) {
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;
  const auto work = [&] {
    try {
      for (int64_t begin = next.fetch_add(chunk); begin < count; begin = next.fetch_add(chunk)) {
        body(begin, std::min(begin + chunk, count));
      }
    } catch (...) {
      const std::lock_guard<std::mutex> lock(error_mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) {
    try {
      others.emplace_back(work);
    } catch (const std::system_error&) {
      break;  // fewer threads do it too
    }
  }
  work();
  for (std::thread& other : others) other.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace ropescope
