#pragma once

#include <memory>
#include <mutex>
#include <vector>

namespace ropescope {

/// Working space that is dear to make: each call borrows one and gives it back, so there are never more than
/// threads that were inside at once.
template <typename Scratch>
class ScratchPool {
 public:
  class Loan {
   public:
    Loan(ScratchPool& pool, std::unique_ptr<Scratch> scratch) : pool_(pool), scratch_(std::move(scratch)) {}
    ~Loan() {
      const std::lock_guard lock(pool_.mutex_);
      // Where even this small vector cannot grow, the scratch is simply freed.
      try {
        pool_.free_.push_back(std::move(scratch_));
      } catch (const std::bad_alloc&) {
      }
    }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    Scratch& operator*() { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<Scratch> scratch_;
  };

  Loan borrow() {
    std::unique_ptr<Scratch> scratch;
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        scratch = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (scratch == nullptr) scratch = std::make_unique<Scratch>();
    return Loan(*this, std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

}  // namespace ropescope
