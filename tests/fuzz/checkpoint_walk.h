// What a fuzz target does with a checkpoint that was accepted: take every tensor.
#pragma once

#include <cstdint>

#include "ropescope/core/errors.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope::testing {

/// Takes every tensor in float32 and reads its first and last element. A tensor may be refused in words (a
/// type that cannot be widened), but not if `bytes` of it exceed the file: that is a reader's fault.
inline void take_all(const Checkpoint& checkpoint, uint64_t file_bytes) {
  constexpr uint64_t kSmallInflated = uint64_t{1} << 20;
  for (const TensorInfo& info : checkpoint.tensors()) {
    if (info.bytes > file_bytes + kSmallInflated) {
      throw InternalError("tensor \"{}\": {} bytes from a file of {}", info.name, info.bytes, file_bytes);
    }
    if (checkpoint.find(info.name) == nullptr) throw InternalError("tensor \"{}\" is lost", info.name);
    try {
      const at::Tensor tensor = checkpoint.take(info.name, at::kFloat);
      if (tensor.sizes() != at::IntArrayRef(info.shape)) throw InternalError("the shape changed");
      volatile float touched = 0.0F;
      if (tensor.numel() > 0) {
        const float* data = tensor.const_data_ptr<float>();
        touched = data[0];
        touched = data[tensor.numel() - 1];
      }
      static_cast<void>(touched);
    } catch (const InputError&) {
    }
  }
}

}  // namespace ropescope::testing
