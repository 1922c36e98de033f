// Checkpoints of a run: DIR/step-N/ with model.safetensors (Hugging Face names, and the model's own
// config.json and tokenizer files, so that it loads as a model), optimizer.safetensors and state.json.
// A folder appears under its name only when it is complete and on the disk: whatever kills the run, the last
// folder is whole.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/core/json.h"

namespace ropescope {

struct SavedRun {
  int64_t step = 0;
  std::map<std::string, at::Tensor> weights, optimizer;
  /// For saving: where these are set, the tensors above only tell shapes and types, and these bring them,
  /// name by name in their order.
  std::function<at::Tensor(const std::string&name)> take_weight, take_state;
  /// What the run was made of: `config` (settings that change its numbers), `data` (fingerprint), `sampler`.
  Json state;
};

/// A small file that goes into every checkpoint (config.json, the tokenizer's).
struct ModelFile {
  std::string name;  ///< below the checkpoint's folder
  std::string content;
};

/// config.json and whatever of tokenizer and image processor lies in a model's folder; of an original LLaVA
/// checkpoint also the config.json of a vision tower that lies elsewhere; of a GGUF file a config.json
/// and, for byte-level tokenizers, a tokenizer.json.
std::vector<ModelFile> read_model_files(const std::filesystem::path& model);

class Checkpoints {
 public:
  /// Makes the folder and removes what an earlier run left unfinished. `adapters`: weights go to adapter_model.safetensors,
  /// under PEFT's names (adapter_file.h).
  Checkpoints(std::filesystem::path folder, std::vector<ModelFile> files, bool adapters = false);

  /// Keeps the `keep_last` newest (0: all). Throws EnvironmentError if there is no room; earlier checkpoints
  /// are then untouched.
  std::filesystem::path save(const SavedRun& run, int64_t keep_last);
  /// The folder with the highest step.
  std::optional<std::filesystem::path> latest() const;
  /// All of them, by step.
  std::map<int64_t, std::filesystem::path> all() const;
  void remove_all();

 private:
  std::filesystem::path folder_;
  std::vector<ModelFile> files_;
  bool adapters_;
};

/// The newest checkpoint in a folder of checkpoints; none if there is none.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& folder);

/// Throws InputError for anything malformed.
SavedRun read_checkpoint(const std::filesystem::path& folder);

/// Where two objects differ: "learning-rate: 1e-5, now 2e-5". Empty if nowhere.
std::vector<std::string> changed_settings(const Json& then, const Json& now);

}  // namespace ropescope
