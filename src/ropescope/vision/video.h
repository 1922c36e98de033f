// Clips: video files, read through FFmpeg's libraries, and folders of pictures.
// A file is untrusted: only common containers and codecs are opened, nothing that it refers to elsewhere is, sizes and
// numbers of frames are bounded, and a damaged one is refused. Frames are as they are stored (a phone's rotation is told,
// not applied), converted to RGB with accurate rounding by the colour space and range that the file names (BT.601 and
// limited range where it names none).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/vision/frame_sampling.h"

namespace ropescope {

/// 2^26: 8192 x 8192.
inline constexpr int64_t kMostFramePixels = int64_t{1} << 26;

/// What frames() gives at once, bytes.
inline constexpr int64_t kMostClipBytes = int64_t{1} << 33;

class Clip {
 public:
  virtual ~Clip() = default;
  Clip(const Clip&) = delete;
  Clip& operator=(const Clip&) = delete;

  const std::string& name() const { return name_; }
  int64_t width() const { return width_; }
  int64_t height() const { return height_; }
  int64_t total_frames() const { return static_cast<int64_t>(seconds_.size()); }
  /// Frames a second on average, as the file says (a folder: as it was given).
  double fps() const { return fps_; }
  /// When each frame is shown, counted from the first.
  const std::vector<double>& seconds() const { return seconds_; }
  /// Degrees by which the frames are to be turned clockwise for showing: 0, 90, 180, 270.
  int rotation() const { return rotation_; }
  /// The greatest |seconds[i] - i / fps|. The processors know no more than i / fps: of a clip whose frames do not come at
  /// one rate their times are wrong by as much.
  double drift() const;

  /// uint8 [height, width, 3] of each index, in that order. `indices` must not fall; an index of total_frames() or more
  /// means the last frame (see frame_sampling.h), and an index that stands twice gives the same tensor twice. Throws
  /// InputError for more than kMostClipBytes.
  virtual std::vector<at::Tensor> frames(const std::vector<int64_t>& indices) = 0;

 protected:
  Clip() = default;
  /// Throws InternalError for indices that fall or are negative.
  void check_indices(const std::vector<int64_t>& indices) const;

  std::string name_;
  int64_t width_ = 0, height_ = 0;
  double fps_ = 0.0;
  std::vector<double> seconds_;
  int rotation_ = 0;
};

/// A video file, or a folder of pictures of one size, in the order of their names (numbers in them by their value), for
/// which `fps` must be given. `fps` of a file takes the place of its own. Reading a file decodes it once, to know its
/// frames; frames() decodes it again up to the last frame that is asked for. Throws InputError, UsageError (a folder without
/// fps).
std::unique_ptr<Clip> open_clip(const std::filesystem::path& path, std::optional<double> fps = std::nullopt);

namespace clips {

/// Internal: the two kinds.
std::unique_ptr<Clip> open_video_file(const std::filesystem::path& path, std::optional<double> fps);
std::unique_ptr<Clip> open_frame_folder(const std::filesystem::path& path, double fps);

}  // namespace clips

}  // namespace ropescope
