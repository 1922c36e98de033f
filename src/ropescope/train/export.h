// From a checkpoint of a run to a folder that Hugging Face transformers loads: model.safetensors under the
// names of the public repositories (llava-hf 1.6; Llama and Qwen2; the other vision-language families, whose config.json and
// processor files stay those that the training began with), config.json, tokenizer and processor files. An original LLaVA checkpoint becomes the llava-hf form: its placeholder -200 becomes a token
// <image>, which takes a row of the vocabulary that no token has, or a new one (as llava-hf's conversion
// does; new rows are the mean of all others, so that no answer ever holds one).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <ATen/core/Tensor.h>

namespace ropescope {

struct ExportSummary {
  std::string form;   ///< "llava_next" or another vision-language family, or the decoder's model_type
  int64_t step = -1;  ///< of the run; -1: a folder that no run wrote
  int64_t tensors = 0, parameters = 0;
  int64_t added_rows = 0;  ///< of the vocabulary
};

/// `checkpoint`: a step's folder, or that of a run, whose newest step is taken; any model folder will do.
/// `output` appears when it is complete. Numbers are rounded to `dtype`. Throws UsageError if `output` is
/// there and not `force`, InputError, EnvironmentError.
ExportSummary export_model(const std::filesystem::path& checkpoint, const std::filesystem::path& output,
                           at::ScalarType dtype, bool force);

}  // namespace ropescope
