// Weights that hub files hold in fewer bits: MXFP4 (gpt-oss) and FP8 with a scale a block (DeepSeek), widened to the
// numbers that transformers' loaders give.
#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

#include "ropescope/weights/checkpoint.h"

namespace ropescope {

/// blocks uint8 [..., G, 16] (two 4-bit floats a byte, the low half first), scales uint8 [..., G] (powers of two, excess
/// 127): [..., 32 G] of `dtype`, as [..., out, in] where the file has [..., out, in/32, 16].
at::Tensor widen_mxfp4(const at::Tensor& blocks, const at::Tensor& scales, at::ScalarType dtype);

/// weight float8 [out, in], scales float32 [rows, columns], one for a block of 128 x 128 (the last ones may be smaller),
/// or for equal blocks of another size that the shapes tell. `what` names the weight in errors (InputError: shapes that
/// do not fit).
at::Tensor widen_scaled_blocks(const at::Tensor& weight, const at::Tensor& scales, at::ScalarType dtype,
                               const std::string& what);

/// Checkpoint::take, but a matrix "<x>.weight" that has "<x>.weight_scale_inv" beside it is widened with that.
at::Tensor take_scaled(const Checkpoint& checkpoint, const std::string& name, at::ScalarType dtype);

}  // namespace ropescope
