// Where a layer's experts are read from, one at a time: a file's experts may be larger than memory, and a token asks
// for few of them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope {

/// Matrices [out, in], not always contiguous: views of a mapped file where that holds the type asked for. Biases may be
/// undefined. I inner width, C hidden size.
struct Expert {
  at::Tensor gate, up, down;                 ///< [I, C], [I, C], [C, I]
  at::Tensor gate_bias, up_bias, down_bias;  ///< [I], [I], [C]
};

class ExpertSource {
 public:
  virtual ~ExpertSource() = default;
  /// May be called from any thread. Throws InputError.
  virtual Expert take(int64_t expert) const = 0;
};

/// Experts of `checkpoint` under `prefix` ("model.layers.3.mlp.experts"), in the form that `shape` says, read anew each
/// time. Whatever that form, these are taken where they are there:
///   <prefix>.gate_proj.weight, .up_proj.weight, .down_proj.weight [E, out, in], .bias [E, out] (GGUF);
///   <prefix>.gate_up_proj_blocks, _scales, <prefix>.down_proj_blocks, _scales (MXFP4, gpt-oss);
///   <weight>_scale_inv beside a weight of its own (FP8, DeepSeek).
/// Throws InputError naming tensors that are missing or whose shape does not fit.
std::shared_ptr<const ExpertSource> expert_source(std::shared_ptr<const Checkpoint> checkpoint,
                                                  const std::string& prefix, const ExpertShape& shape,
                                                  int64_t hidden_size, at::ScalarType dtype,
                                                  at::Device device);

}  // namespace ropescope
