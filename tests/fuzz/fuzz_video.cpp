// Video files: what the container says of rate, size and times, and the frames.
#include <algorithm>

#include "ropescope/vision/video.h"

#include "tests/fuzz/fuzz_file.h"
#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(video, bytes) {
  using namespace ropescope;
  const testing::FuzzFile file(bytes, ".mp4");
  const std::unique_ptr<Clip> clip = open_clip(file.path());
  if (clip->total_frames() < 1 || clip->total_frames() > kMostClipFrames || clip->width() < 1 ||
      clip->height() < 1 || !(clip->fps() > 0) || clip->drift() < 0) {
    throw InternalError("a clip of an impossible shape was accepted");
  }
  const SampledFrames sampled = sample_frames(clip->total_frames(), clip->fps(), {}, "fuzz");
  for (const at::Tensor& frame : clip->frames(sampled.indices)) {
    if (frame.size(0) != clip->height() || frame.size(1) != clip->width() || frame.size(2) != 3) {
      throw InternalError("a frame of another size than its clip's was given");
    }
  }
}
