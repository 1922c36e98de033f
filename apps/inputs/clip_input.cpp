#include "inputs/clip_input.h"

#include <filesystem>

#include "ropescope/core/log.h"

namespace ropescope::app {

OpenedClip opened_clip(const std::string& name, std::optional<double> fps, FrameSampling sampling) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(name, ignored);
  if (fps && !folder) {
    sampling.sample = true;
    sampling.rate = *fps;
  }
  OpenedClip result{open_clip(name, folder ? fps : std::nullopt), sampling};
  const Clip& clip = *result.clip;
  if (clip.rotation() != 0) {
    log_warning(
        "{}: it is to be shown turned by {} degrees, which the processors do not do; neither is it done here",
        name, clip.rotation());
  }
  if (clip.drift() * clip.fps() > 0.5) {
    log_warning(
        "{}: its frames do not come at one rate: times counted by {:.4g} frames a second are wrong by up to {:.3g} s",
        name, clip.fps(), clip.drift());
  }
  return result;
}

SampledClip sampled_clip(const std::string& name, std::optional<double> fps, FrameSampling sampling) {
  OpenedClip opened = opened_clip(name, fps, sampling);
  SampledClip result{std::move(opened.clip), {}};
  const Clip& clip = *result.clip;
  result.sampled = sample_frames(clip.total_frames(), clip.fps(), opened.sampling, name);
  log_info("{}: {} of {} frames at {:.4g} frames a second, sampled at {:.4g}", name,
           result.sampled.indices.size(), clip.total_frames(), clip.fps(), result.sampled.sampled_fps());
  return result;
}

}  // namespace ropescope::app
