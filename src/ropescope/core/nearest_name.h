#pragma once

#include <span>
#include <string>
#include <string_view>

namespace ropescope {

/// The candidate with the smallest edit distance to `text`, for "did you mean"; empty if none is near (a
/// third of the longer word's letters, at least 2, may differ).
std::string nearest_name(std::string_view text, std::span<const std::string> candidates);

}  // namespace ropescope
