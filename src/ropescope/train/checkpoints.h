// Checkpoints of a run: DIR/step-N/ with model.safetensors (Hugging Face names, and the model's own
// config.json and tokenizer files, so that it loads as a model), optimizer.safetensors and state.json.
// A folder appears under its name only when it is complete and on the disk: whatever kills the run, the last
// folder is whole.
#pragma once

#include <cstdint>
#include <filesystem>
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
  /// What the run was made of: `config` (settings that change its numbers), `data` (fingerprint), `sampler`.
  Json state;
};

class Checkpoints {
 public:
  /// `copied`: small files of the model that go into every checkpoint. Makes the folder and removes what an
  /// earlier run left unfinished.
  Checkpoints(std::filesystem::path folder, std::vector<std::filesystem::path> copied);

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
  std::vector<std::filesystem::path> copied_;
};

/// Throws InputError for anything malformed.
SavedRun read_checkpoint(const std::filesystem::path& folder);

/// Where two objects differ: "learning-rate: 1e-5, now 2e-5". Empty if nowhere.
std::vector<std::string> changed_settings(const Json& then, const Json& now);

}  // namespace ropescope
