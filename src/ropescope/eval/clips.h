// The clips that records of a benchmark are about.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/vision/frame_sampling.h"

namespace ropescope::eval {

/// A video file, or a folder of frames; with `start` and `end` a piece of it, seconds from its beginning.
struct ClipPart {
  std::filesystem::path file;
  std::optional<double> start = {}, end = {};
  bool operator==(const ClipPart&) const = default;

  /// Equal for equal pieces.
  std::string key() const;
};

/// Columns that name a record's clip; the first that is there counts. The last one holds a name without its ending.
inline constexpr std::array<const char*, 4> kClipColumns = {"video", "video_path", "video_name", "videoID"};

/// Of a record: the files that `video` (a name, or a list), else `video_path` or `video_name` names, relative to `folder`; else
/// `videoID` with .mp4, .MP4, .mkv or .webm behind it, in `folder` or `folder`/data. Columns `start` and `end`, seconds, cut out
/// a piece. None without such a column. Throws InputError for names of no file, and for times that are no piece.
std::vector<ClipPart> clips_of(const Json& record, const std::filesystem::path& folder);

/// The frames of a piece, chosen as those of a clip of that length: `total` and `fps` of the whole clip, indices into it.
/// Of a piece times count from its start: what follows them needs `within`.
struct PartFrames {
  std::vector<int64_t> indices;  ///< into the whole clip
  SampledFrames within;          ///< the same, counted from the start of the piece
};
/// `what` names the clip in errors. Throws InputError for a piece that ends more than half a second behind the clip, or is
/// empty, and as sample_frames does.
PartFrames frames_of_part(const ClipPart& part, int64_t total, double fps, const FrameSampling& sampling,
                          const std::string& what);

}  // namespace ropescope::eval
