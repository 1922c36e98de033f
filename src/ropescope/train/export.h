// From a checkpoint of a run to a folder that Hugging Face transformers loads: model.safetensors under the
// names of the public repositories (llava-hf 1.6; Llama and Qwen2; the other vision-language families, whose config.json and
// processor files stay those that the training began with), config.json, tokenizer and processor files. An original LLaVA checkpoint becomes the llava-hf form: its placeholder -200 becomes a token
// <image>, which takes a row of the vocabulary that no token has, or a new one (as llava-hf's conversion
// does; new rows are the mean of all others, so that no answer ever holds one).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

namespace ropescope {

struct ExportSummary {
  std::string form;   ///< "llava_next" or another vision-language family, or the decoder's model_type
  int64_t step = -1;  ///< of the run; -1: a folder that no run wrote
  int64_t tensors = 0, parameters = 0;
  int64_t added_rows = 0;  ///< of the vocabulary
  int64_t adapted = 0;     ///< matrices that an adapter was put into
};

/// What is exported: a model, and adapters for it (adapter_file.h).
struct ExportSource {
  std::filesystem::path model;                   ///< a folder, or a .gguf file
  std::optional<std::filesystem::path> adapter;  ///< a folder
};

/// `checkpoint`: a step's folder, or that of a run, whose newest step is taken; any model will do. Where it holds adapters, the
/// model is the one that they name. `adapter`: adapters for it, likewise a step, a run, or a folder of PEFT's; empty: none.
/// Throws InputError.
ExportSource find_export_source(const std::filesystem::path& checkpoint,
                                const std::filesystem::path& adapter);

/// `output` appears when it is complete. Numbers are rounded to `dtype`. Throws UsageError if `output` is
/// there and not `force`, InputError, EnvironmentError.
ExportSummary export_model(const ExportSource& source, const std::filesystem::path& output,
                           at::ScalarType dtype, bool force);

}  // namespace ropescope
