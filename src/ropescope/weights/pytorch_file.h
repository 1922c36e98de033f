// Files written by torch.save: zip archives (PyTorch 1.6 and later) and the plain form from before. Both hold
// a pickle that describes the tensors, and their storages as raw bytes.
#pragma once

#include <vector>

#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

/// The tensors of a state dict: the top-level dict, or the dict under "state_dict", "model_state_dict",
/// "model" or "module" where the top level has no tensors. Entries that are no tensors are passed over.
/// Strides, offsets and shared storages are checked against the storages. Throws InputError; never runs code.
std::vector<StoredTensor> parse_pytorch(const FileBytes& file);

/// True if the file begins like a zip archive or like the older form.
bool looks_like_pytorch(std::span<const std::byte> bytes);

}  // namespace ropescope
