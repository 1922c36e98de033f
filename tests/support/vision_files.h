// LLaVA-NeXT folders and image files that a test makes for itself.
#pragma once

#include <cstdint>
#include <string>

#include "tests/support/golden.h"

namespace ropescope::testing {

/// The tiny golden LLaVA-NeXT (CLIP and Llama) with a tokenizer: as many rows of embeddings, drawn from a
/// fixed seed, as the tiny Llama tokenizer has pieces. Written into `folder`.
void write_tiny_llava(const TemporaryFolder& folder);

/// An uncompressed RGB TIFF of a colour gradient. `claimed_*` (if not 0) stand in its header in place of the
/// real size, as in a decompression bomb.
void write_tiff(const std::string& path, int64_t width, int64_t height, int64_t claimed_width = 0,
                int64_t claimed_height = 0);

}  // namespace ropescope::testing
