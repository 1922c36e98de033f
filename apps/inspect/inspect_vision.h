// What `inspect` tells about vision towers and vision-language models.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ropescope/architectures/llava_config.h"
#include "ropescope/core/json.h"

namespace ropescope::app::inspect {

struct VisionReport {
  std::optional<VisionConfig> tower;
  std::optional<LlavaConfig> llava;  ///< with its tower above
  std::string error;                 ///< why the config of a model that sees cannot be used
};

/// From the config.json of a folder; empty for a model without a vision tower.
VisionReport read_vision_report(const std::filesystem::path& folder);

/// Adds `vision_config`, `llava`, `vision_error` where there are any.
void add_vision_json(const VisionReport& report, Json& json);

/// Lines of the human report: label and text.
std::vector<std::pair<std::string, std::string>> vision_rows(const VisionReport& report);

/// Numbers (not bytes) that the tower and the projector hold, and that are alive while they run.
struct VisionShare {
  int64_t parameters = 0, activations = 0;
};
VisionShare vision_share(const VisionReport& report, const std::string& what);

}  // namespace ropescope::app::inspect
