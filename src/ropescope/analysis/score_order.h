// How the scores of one query order distances, and two keys, within a context.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// scores[m], m = 0..size-1: the share of all m < n with scores[m] > scores[n]; equal scores count a half. By merging, in
/// O(size log size); `scores` are sorted afterwards, `scratch` is used. `size` is 2 or more.
double share_in_falling_order(double* scores, int64_t size, std::vector<double>& scratch);

/// differences[m] of two keys' scores at one place: the share of all m != n at which their signs differ. A difference of 0
/// agrees with nothing and counts a half:
///   1/2 (1 - (S^2 - Q) / (size (size - 1))),  S = sum of the signs, Q = sum of their squares.
double share_of_flips(const double* differences, int64_t size);

/// [P] int64, ascending: the distances that stand for 0..length-1. All of them where `points` is 0 or no smaller than
/// `length`, else one drawn evenly from each of `points` parts of equal size; the same for the same seed and stream.
at::Tensor spread_distances(int64_t length, int64_t points, uint64_t seed, int64_t stream);

/// How many they are.
int64_t spread_points(int64_t length, int64_t points);

}  // namespace ropescope
