// Limits of a decoder's sizes, checked before anything is made by them.
#pragma once

#include <cstdint>
#include <string>

#include "ropescope/architectures/decoder_config.h"

namespace ropescope {

/// Sizes stay below this, so that the product of any two fits in int64.
inline constexpr int64_t kLargestSize = INT32_MAX;
/// Positions and windows too.
inline constexpr int64_t kMostPositions = INT64_MAX / 2;

/// check_decoder_config without the layers, which need not be there yet.
void check_decoder_sizes(const DecoderConfig& config, const std::string& what);

}  // namespace ropescope
