// Adapters as PEFT keeps them: a folder with adapter_config.json and adapter_model.safetensors.
//   base_model.model.<module>.lora_A.weight [r, in], base_model.model.<module>.lora_B.weight [out, r]
//   base_model.model.<name>                          whatever else was trained (modules_to_save)
// <module> and <name> as transformers has them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/core/json.h"
#include "ropescope/train/lora.h"

namespace ropescope {

inline constexpr const char* kAdapterConfig = "adapter_config.json";
inline constexpr const char* kAdapterWeights = "adapter_model.safetensors";
/// Before every name in the file.
inline constexpr const char* kAdapterPrefix = "base_model.model.";

bool is_adapter_folder(const std::filesystem::path& folder);

/// adapter_config.json. `base`: the model as it was named; `prefix`: as of Adapters, where it is not "model." targets are a
/// pattern that leaves towers out; `whole`: names of what else is trained.
Json adapter_config(const LoraSettings& settings, const std::string& base, const std::string& prefix,
                    const std::vector<std::string>& whole);

/// The model that adapters were trained on, as adapter_config.json names it; may be empty. Throws as read_adapter does.
std::string adapter_base(const std::filesystem::path& folder);

struct AdapterFile {
  std::filesystem::path weights;  ///< where the numbers come from
  LoraSettings settings;
  struct Pair {
    at::Tensor a, b;  ///< float32
  };
  std::map<std::string, Pair> pairs;        ///< by module
  std::map<std::string, at::Tensor> whole;  ///< by name
};

/// Throws InputError for what is malformed, UnsupportedModel for kinds of adapters that are no plain LoRA (DoRA, biases, ranks
/// that differ, adapters of embeddings).
AdapterFile read_adapter(const std::filesystem::path& folder);

/// Gives adapters the numbers of a file. Throws InputError where they are not those of the same matrices.
void load_adapter(const AdapterFile& file, Adapters& adapters);

/// Puts the adapters into the tensors of a model, by the names of their file: W + s B A in float32, rounded to the tensor's own
/// type. Names with and without "model." and "language_model." in front are the same ones. Returns how many matrices were
/// adapted. Throws InputError for an adapter that has no matrix there, or one of another shape.
int64_t merge_adapter(const AdapterFile& file, std::map<std::string, at::Tensor>& tensors);

}  // namespace ropescope
