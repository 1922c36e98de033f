// The one way from a path to a Checkpoint: the container's reader, and for GGUF the names of the Hugging Face form.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "ropescope/weights/checkpoint.h"

namespace ropescope {

/// Throws InputError where there is neither file nor folder; for a name such as Qwen/Qwen2.5-0.5B with the command that fetches it.
void check_model_is_there(const std::filesystem::path& model);

/// Opens a folder (Hugging Face form: model.safetensors[.index.json] before pytorch_model.bin[.index.json];
/// else the only weight files there) or one weight file, chosen by content rather than by name. Throws
/// InputError in words for anything malformed: truncated, overlapping, overflowing, duplicate, missing
/// shard... Never allocates more than the file's own size before the checks are passed, never runs code from
/// a pickle.
std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path);

/// With Hugging Face names and row order where the architecture is known (llama, qwen2), else the file's own.
/// llama.cpp's converter reorders the rows of Llama's attn_q and attn_k so that rotated pairs lie side by
/// side; here they are put back to half-split. Qwen2's rows are not reordered.
std::unique_ptr<Checkpoint> open_gguf_checkpoint(const std::filesystem::path& path);

/// The same from memory that outlives the result; `what` stands for the file in errors.
std::unique_ptr<Checkpoint> open_gguf_checkpoint(std::span<const std::byte> bytes, const std::string& what);

}  // namespace ropescope
