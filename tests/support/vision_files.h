// Image files that a test makes for itself.
#pragma once

#include <cstdint>
#include <string>

namespace ropescope::testing {

/// An uncompressed RGB TIFF of a colour gradient. `claimed_*` (if not 0) stand in its header in place of the
/// real size, as in a decompression bomb.
void write_tiff(const std::string& path, int64_t width, int64_t height, int64_t claimed_width = 0,
                int64_t claimed_height = 0);

}  // namespace ropescope::testing
