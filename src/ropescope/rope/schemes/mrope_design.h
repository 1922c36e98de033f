// The grid of M-RoPE, used by mrope, mrope-interleave, mhrope and grape: t = b + trunc(s tau), h = b + y, w = b + x;
// next = b + max(trunc(s(T-1)), H-1, W-1) + 1. Ids of frames are whole numbers, the product being taken in float32
// and cut, as in the public code of Qwen2.5-VL. With spatial reset h = y, w = x (arXiv 2510.23095, section 4).
// With after=extent next = b + max(H, W) whatever T is (transformers 5): a long clip's ids run into the text.
#pragma once

#include <memory>

#include "ropescope/rope/schemes/spatial_design.h"

namespace ropescope {

/// `spatial_reset` (off) and `after` (largest) are read from the parameters.
std::shared_ptr<const PositionDesign> make_mrope_design(const Parameters& parameters, double temporal_stride);

}  // namespace ropescope
