// Numbers as Python reads and writes them: int(), str(), round().
#pragma once

#include <optional>
#include <string>

#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// int(text) in decimal digits without leading zeros, with its sign; none where Python raises ValueError.
std::optional<std::string> python_int(TextView text);
/// str(int(value)), cut towards zero; none for infinities and NaN.
std::optional<std::string> python_truncated(double value);
/// str(value) of a float.
std::string python_float_text(double value);
/// str(round(value, digits)) of a float.
std::string python_rounded(double value, int64_t digits);

}  // namespace ropescope::eval
