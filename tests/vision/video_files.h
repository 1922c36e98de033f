// Small video files, written by FFmpeg's encoders.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope::testing {

struct VideoOptions {
  std::string codec = "ffv1";  ///< "ffv1" keeps every bit; "mpeg4" does not
  int rate_numerator = 25, rate_denominator = 1;
  std::vector<int64_t> ticks;  ///< when each frame is shown, in 1 / rate; 0, 1, 2, ... unless given
};

/// `frames`: uint8 [H, W, 3] of one size. The container follows from the name's ending.
void write_video(const std::string& path, const std::vector<at::Tensor>& frames,
                 const VideoOptions& options = {});

}  // namespace ropescope::testing
