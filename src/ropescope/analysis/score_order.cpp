#include "ropescope/analysis/score_order.h"

#include <algorithm>

#include <boost/random/uniform_int_distribution.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/random.h"

namespace ropescope {

namespace {

// Both without a branch in their loops: scores come in no order that could be foretold.

/// Merges two sorted runs; how often an entry of the first is greater than one of the second.
int64_t merge_counting(const double* first, const double* middle, const double* last, double* to) {
  int64_t greater = 0;
  const double* a = first;
  const double* b = middle;
  while (a < middle && b < last) {
    const double x = *a, y = *b;
    const int64_t from_second = y < x;
    greater += (middle - a) & -from_second;
    *to++ = y < x ? y : x;
    b += from_second;
    a += 1 - from_second;
  }
  std::copy(b, last, std::copy(a, middle, to));
  return greater;
}

/// The same of runs of one width, from both ends at once: the two halves wait for each other's loads no more, which takes half
/// the time, and neither can leave its runs within so many steps.
int64_t merge_counting_even(const double* first, const double* middle, int64_t width, double* to) {
  int64_t greater = 0;
  const double* a = first;
  const double* b = middle;
  const double* a_end = middle - 1;
  const double* b_end = middle + width - 1;
  double* to_end = to + 2 * width - 1;
  for (int64_t step = 0; step < width; ++step) {
    const double x = *a, y = *b;
    const int64_t from_second = y < x;
    greater += (middle - a) & -from_second;
    *to++ = y < x ? y : x;
    b += from_second;
    a += 1 - from_second;
    const double x_end = *a_end, y_end = *b_end;
    const int64_t from_first = x_end > y_end;
    greater += (middle - 1 - a_end) & (from_first - 1);  // those that stand behind y_end already
    *to_end-- = x_end > y_end ? x_end : y_end;
    a_end -= from_first;
    b_end -= 1 - from_first;
  }
  return greater;
}

double pairs_among(int64_t count) {
  return 0.5 * static_cast<double>(count) * static_cast<double>(count - 1);
}

}  // namespace

double share_in_falling_order(double* scores, int64_t size, std::vector<double>& scratch) {
  scratch.resize(static_cast<size_t>(size));
  double* from = scores;
  double* to = scratch.data();
  int64_t greater = 0;
  for (int64_t width = 1; width < size; width *= 2) {
    for (int64_t begin = 0; begin < size; begin += 2 * width) {
      const int64_t middle = std::min(begin + width, size), end = std::min(begin + 2 * width, size);
      greater += end - middle == width ? merge_counting_even(from + begin, from + middle, width, to + begin)
                                       : merge_counting(from + begin, from + middle, from + end, to + begin);
    }
    std::swap(from, to);
  }
  if (from != scores) std::copy(from, from + size, scores);
  double equal = 0;
  for (int64_t begin = 0, end = 0; begin < size; begin = end) {
    while (end < size && scores[end] == scores[begin]) ++end;
    equal += pairs_among(end - begin);
  }
  return (static_cast<double>(greater) + 0.5 * equal) / pairs_among(size);
}

double share_of_flips(const double* differences, int64_t size) {
  int64_t sum = 0, squares = 0;
  for (int64_t m = 0; m < size; ++m) {
    const int64_t sign = (differences[m] > 0) - (differences[m] < 0);
    sum += sign;
    squares += sign * sign;
  }
  const double agreeing = static_cast<double>(sum) * static_cast<double>(sum) - static_cast<double>(squares);
  return 0.5 * (1.0 - agreeing / (2.0 * pairs_among(size)));
}

int64_t spread_points(int64_t length, int64_t points) {
  return points == 0 || points >= length ? length : points;
}

at::Tensor spread_distances(int64_t length, int64_t points, uint64_t seed, int64_t stream) {
  if (spread_points(length, points) == length) return at::arange(length, at::kLong);
  Rng rng = make_rng(
      seed, {static_cast<uint64_t>(length), static_cast<uint64_t>(points), static_cast<uint64_t>(stream)});
  std::vector<int64_t> distances;
  for (int64_t i = 0; i < points; ++i) {
    const int64_t begin = i * length / points, end = (i + 1) * length / points;
    distances.push_back(boost::random::uniform_int_distribution<int64_t>(begin, end - 1)(rng));
  }
  return at::tensor(distances, at::kLong);
}

}  // namespace ropescope
