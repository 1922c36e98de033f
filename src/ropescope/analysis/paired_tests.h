// Tests of paired differences, few of them: one a seed, a picture, a text. No assumption about their distribution but that a
// difference that is none would have either sign as often.
#pragma once

#include <cstdint>
#include <vector>

namespace ropescope {

/// As many differences as are gone through exactly: 2^20 choices of signs.
inline constexpr int64_t kMostSignFlips = 20;

/// Two-sided p of the mean of differences d, by the exact distribution over all 2^n choices of their signs: the share of choices
/// whose |sum| is at least that of d. Sums that differ by rounding count as equal. 1 for no differences. Throws InternalError for
/// more than kMostSignFlips, or for a value that is not finite.
double sign_flip_p(const std::vector<double>& differences);

/// The smallest p that so many differences can have: 2^(1 - n).
double smallest_sign_flip_p(int64_t count);

/// Holm's correction: adjusted p of each of several tests, in their order; at most one of them is below a by chance, with
/// probability a. max over the smaller ones of (m - rank) p, at most 1. Source: Holm 1979, Scand. J. Statist. 6, 65.
std::vector<double> holm_adjusted(const std::vector<double>& p);

}  // namespace ropescope
