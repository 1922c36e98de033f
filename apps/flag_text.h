// The text of a flag as numbers and words, and what is said where it is none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ropescope::app {

/// "0-3,31" -> 0,1,2,3,31. Throws UsageError naming the flag.
std::vector<int64_t> parse_integer_list(const std::string& text, const std::string& flag);
/// "1e4,1e5" -> doubles. Throws UsageError naming the flag.
std::vector<double> parse_number_list(const std::string& text, const std::string& flag);

/// The whole text as one number. Throws UsageError naming the flag.
int64_t parse_whole(const std::string& text, const std::string& flag);
uint64_t parse_natural(const std::string& text, const std::string& flag);
double parse_real(const std::string& text, const std::string& flag);

/// "a or b", "a, b or c".
std::string one_of_these(const std::vector<std::string>& words);

}  // namespace ropescope::app
