// What `inspect` tells about vision towers and vision-language models.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/vlm_config.h"
#include "ropescope/core/json.h"

namespace ropescope::app::inspect {

/// A picture as the folder's processor takes it: what it becomes shows what its settings mean.
struct PictureReport {
  std::string placeholder;  ///< what stands for a picture in a prompt
  bool takes_video = false;
  int64_t tokens = 0,
          runs = 0;   ///< of a picture of kSampleWidth x kSampleHeight pixels: tokens, and runs of them
  std::string error;  ///< why there is none
};

struct VisionReport {
  std::optional<VisionConfig> tower;
  std::optional<LlavaConfig> llava;  ///< LLaVA-NeXT, with its tower above
  std::optional<VlmConfig> vlm;      ///< of every vision-language family, with its tower above
  PictureReport picture;             ///< of `vlm`
  std::string error;                 ///< why the config of a model that sees cannot be used
};

/// From the config.json of a folder and its processor's files; empty for a model without a vision tower.
VisionReport read_vision_report(const std::filesystem::path& folder);

/// Adds `vision_config`, `vlm`, `llava`, `vision_error` where there are any.
void add_vision_json(const VisionReport& report, Json& json);

/// Lines of the human report: label and text.
std::vector<std::pair<std::string, std::string>> vision_rows(const VisionReport& report);

/// Numbers (not bytes) that the tower and the connector hold, and that are alive while they run.
struct VisionShare {
  int64_t parameters = 0, activations = 0;
};
VisionShare vision_share(const VisionReport& report, const std::string& what);

}  // namespace ropescope::app::inspect
