// Sizes from untrusted files, and counts of the numbers that a model of such sizes holds.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "ropescope/core/errors.h"

namespace ropescope {

/// Throws InputError unless 1 <= value <= largest.
inline void check_size(int64_t value, const char* name, int64_t largest, const std::string& what) {
  if (value < 1 || value > largest) {
    throw InputError("{}: {}: expected a number from 1 to {}, found {}", what, name, largest, value);
  }
}

/// Sums and products that notice an overflow (InputError naming `what`).
class SizeCount {
 public:
  explicit SizeCount(std::string what) : what_(std::move(what)) {}
  int64_t product(std::initializer_list<int64_t> factors) const {
    int64_t result = 1;
    for (const int64_t factor : factors) check(__builtin_mul_overflow(result, factor, &result));
    return result;
  }
  int64_t sum(std::initializer_list<int64_t> terms) const {
    int64_t result = 0;
    for (const int64_t term : terms) check(__builtin_add_overflow(result, term, &result));
    return result;
  }

 private:
  void check(bool overflow) const {
    if (overflow) throw InputError("{}: a model of this size is beyond any memory", what_);
  }
  std::string what_;
};

}  // namespace ropescope
