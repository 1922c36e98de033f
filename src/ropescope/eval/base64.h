#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ropescope::eval {

/// The bytes; white space inside is ignored. None for other characters than the standard alphabet's, wrong
/// padding, or an incomplete last group.
std::optional<std::string> decode_base64(std::string_view text);

/// The standard alphabet with padding, on one line.
std::string encode_base64(std::string_view bytes);

}  // namespace ropescope::eval
