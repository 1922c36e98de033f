// Mixed precision: master weights stay float32, a pass runs in another type.
//   working = type(master),  d loss / d master = float32(d loss / d working)
// Updates smaller than the working type resolves still add up. Source: Micikevicius et al. 2018 (arXiv
// 1710.03740); bfloat16 needs no scaling of the loss.
#pragma once

#include <ATen/core/Tensor.h>

#include "ropescope/models/vlm.h"

namespace ropescope {

/// The model with every weight in `type`, differentiable in the model's own weights; weights that have that
/// type already stay themselves (Sharding brings parts in the type that it was made for). A tied output
/// matrix stays tied.
Decoder in_type(const Decoder& decoder, at::ScalarType type);
Vlm in_type(const Vlm& vlm, at::ScalarType type);

}  // namespace ropescope
