// Numbers in nested JSON lists, [[1, 2], [3, 4]], as a tensor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/core/json.h"

namespace ropescope::app {

class NestedNumbers {
 public:
  /// `what` names the lists in errors. Throws InputError for empty lists, rows of several lengths and what is no number (or
  /// boolean, which counts as 0 or 1).
  NestedNumbers(const Json& json, std::string what);

  /// Outermost level first.
  const std::vector<int64_t>& sizes() const { return sizes_; }
  at::Tensor doubles() const;
  /// Throws InputError for a number that is not whole, or beyond 2^53.
  at::Tensor integers() const;

 private:
  void collect(const Json& json, size_t depth);
  [[noreturn]] void uneven(size_t depth, int64_t found) const;

  std::string what_;
  std::vector<int64_t> sizes_;
  std::vector<double> values_;
};

/// The same check of numbers that are in a tensor already: int64 of the same shape.
at::Tensor whole_numbers(const at::Tensor& numbers, const std::string& what);

}  // namespace ropescope::app
