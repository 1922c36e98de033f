// Which frames of a clip a model gets, by the rules of the published processors:
//   kEven      n = frames / fps * rate, at least min_frames, at most max_frames, a multiple of the frame group;
//              frame floor(i * frames / n)                                                  (Qwen2-VL, Qwen2.5-VL)
//              (The reference steps through a range of floating point, which now and then, as for 460 frames at 60 a
//              second, has one step too many: index 460. Here too; whoever fetches it takes the last frame.)
//   kEnds      n likewise, not rounded to groups; n numbers from 0 to frames - 1, rounded half to even (Qwen3-VL, Qwen3.5)
//   kPerSecond frame ceil(i * fps / rate) for each i below floor(seconds * rate); from max_duration on evenly spaced
//              seconds; each frame once, an odd number of frames gets its last one twice                (GLM-4.1V)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ropescope {

enum class SamplingRule { kEven, kEnds, kPerSecond };

struct FrameSampling {
  bool sample = true;  ///< false: all frames
  SamplingRule rule = SamplingRule::kEven;
  double rate = 2.0;  ///< frames a second that are asked for
  int64_t min_frames = 4, max_frames = 768;
  int64_t group = 2;          ///< frames that make one step of the grid
  double max_duration = 300;  ///< kPerSecond: seconds
};

/// The frames kept of a clip.
struct SampledFrames {
  std::vector<int64_t> indices;  ///< ascending; the last may stand twice, or be `total` (kEven)
  int64_t total = 0;             ///< frames of the clip
  double fps = 0.0;              ///< of the clip

  /// frames kept / frames in total * fps
  double sampled_fps() const;
  /// When frame i of those kept is shown: index / fps.
  double seconds(size_t i) const;
};

/// Clips and results are bounded: at most 2^20 frames, of which at most 4096 are kept.
inline constexpr int64_t kMostClipFrames = int64_t{1} << 20;
inline constexpr int64_t kMostSampledFrames = 4096;

/// `what` names the clip in errors. Throws InputError for clips without frames, rates that are not in 1e-3..1e4, or more
/// frames than the bounds.
SampledFrames sample_frames(int64_t total, double fps, const FrameSampling& sampling,
                            const std::string& what);

}  // namespace ropescope
