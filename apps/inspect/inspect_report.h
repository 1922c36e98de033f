// What `inspect` tells about a checkpoint, gathered first and printed after.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/decoder_names.h"
#include "ropescope/core/json.h"
#include "ropescope/weights/checkpoint.h"

#include "inspect/inspect_vision.h"

namespace ropescope::app::inspect {

struct TokenizerReport {
  std::string description;  ///< empty if the checkpoint has none
  int64_t vocab_size = 0;
  std::string error;  ///< why it cannot be used
};

struct InspectReport {
  std::string model;  ///< as given on the command line
  const Checkpoint* checkpoint = nullptr;
  std::optional<DecoderConfig> config;
  std::string no_config;                     ///< why there is none
  OutputMatrix output = OutputMatrix::kOwn;  ///< of `config`, whose tie_word_embeddings is then what is so
  bool tie_not_followed = false;             ///< config.json says tied, and two different matrices are there
  VisionReport vision;
  bool rows_put_back = false;  ///< q and k are stored with pairs side by side and put back when taken
  TokenizerReport tokenizer;
  std::optional<std::string> scheme;  ///< that it was trained under, where it says so
};

/// Memory and time of a run, asked for with --estimate.
struct EstimateRequest {
  at::ScalarType dtype = at::kFloat;
  int64_t tokens = 0;
};

Json report_json(const InspectReport& report, const std::optional<EstimateRequest>& estimate);
void print_report(const InspectReport& report, const std::optional<EstimateRequest>& estimate);
void print_tensor_list(const Checkpoint& checkpoint);
void print_tensor_csv(const Checkpoint& checkpoint);

}  // namespace ropescope::app::inspect
