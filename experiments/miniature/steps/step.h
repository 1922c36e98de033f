// The steps of experiments/miniature/run.sh, each a command of ropescope-miniature, and what they share.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ropescope/core/json.h"

#include "apps/flags.h"
#include "miniature/scaling.h"
#include "miniature/world.h"

namespace ropescope::miniature {

struct Step {
  std::string name, summary;
  /// Binds the step's flags; what it returns runs the step with what they were filled with.
  std::function<std::function<int()>(app::Flags&)> bind;
};

template <typename Fields>
Step make_step(std::string name, std::string summary, int (*run)(const Fields&)) {
  return {std::move(name), std::move(summary), [run](app::Flags& flags) {
            auto fields = std::make_shared<Fields>();
            fields->bind(flags);
            return [fields, run] { return run(*fields); };
          }};
}

Step prepare_step();
Step draw_step();
Step text_step();
Step train_step();
Step table_step();
Step fading_step();

void bind_seed(app::Flags& flags, uint64_t& seed);
void bind_from(app::Flags& flags, std::string& from);
void bind_theta(app::Flags& flags, double& theta, const std::string& help);

/// The base of the rotation and how it is scaled (miniature/scaling.h).
struct RopeFlags {
  double theta = 1e4;
  std::string scaling;
  double factor = 1;

  void bind(app::Flags& flags);
  /// Throws UsageError.
  RopeConfig rope(const World& world) const { return scaled_rope(theta, scaling, factor, world); }
};

/// Written beside its place and renamed, so that a run that was cut off left nothing. Throws EnvironmentError.
void write_whole(const std::filesystem::path& file, const std::string& text);
/// The .json of a folder, by name; none where there is no such folder.
std::vector<std::filesystem::path> result_files(const std::filesystem::path& folder);
/// {} where there is no such file.
Json read_if_there(const std::filesystem::path& file);
/// " yarn:4", for a line of progress.
std::string scaling_suffix(const RopeConfig& rope);
/// Where `text` puts the decoder of one theta and scaling.
std::filesystem::path start_folder(const std::filesystem::path& from, const RopeConfig& rope);
/// What prepare wrote down.
World world_of(const Json& prepared, const std::filesystem::path& from);

}  // namespace ropescope::miniature
