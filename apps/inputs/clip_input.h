// A clip of the command line, and which of its frames a model gets.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ropescope/vision/frame_sampling.h"
#include "ropescope/vision/video.h"

namespace ropescope::app {

struct SampledClip {
  std::unique_ptr<Clip> clip;
  SampledFrames sampled;
};

/// A clip and the rule by which its frames are chosen.
struct OpenedClip {
  std::unique_ptr<Clip> clip;
  FrameSampling sampling;
};

/// The first half of sampled_clip, which warns; nothing is chosen yet.
OpenedClip opened_clip(const std::string& name, std::optional<double> fps, FrameSampling sampling);

/// `fps`: of a folder of frames those a second that it has; of a video file those to take, in place of the family's rule
/// `sampling`. Says on stderr what is taken, and warns of a rotation that is not done and of frames at no fixed rate. Throws
/// as open_clip and sample_frames do.
SampledClip sampled_clip(const std::string& name, std::optional<double> fps, FrameSampling sampling);

}  // namespace ropescope::app
