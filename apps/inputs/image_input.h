// Pictures and clips that a command gets: files (--image, --video) or a processor's tensors made elsewhere (--pixels).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/inputs/picture_reader.h"
#include "ropescope/io/result_file.h"
#include "ropescope/models/vlm.h"
#include "ropescope/vision/image.h"
#include "ropescope/vision/preprocess.h"

#include "flags.h"

namespace ropescope::app {

/// --alpha and --exif: how a file becomes pixels.
struct DecodeFlags {
  std::string alpha = "white", exif = "ignore";

  void bind(Flags& flags);
  DecodeOptions options() const;
};

/// A picture or clip as a command has it.
struct NamedMedia {
  MediaItem item;
  std::string name;                 ///< of the file; empty where only its pixels were given
  std::vector<at::Tensor> rgb_HW3;  ///< a picture, or the frames kept of a clip; may be empty
  Json clip = {};                   ///< of a clip: its name, frames and rates, for the record
  /// Its pixels came alone, and nothing says where its tiles lie on the picture.
  bool unplaced = false;
};

std::vector<MediaPlan> plans_of(const std::vector<NamedMedia>& media);
/// What a record says of the clips among them: [{"name", "frames", "total_frames", "source_fps", "sampled_fps"}].
Json clips_of(const std::vector<NamedMedia>& media);
std::vector<MediaItem> items_of(const std::vector<NamedMedia>& media);

/// --image, --video, --fps, --pixels, --pinpoints, --alpha, --exif.
struct ImageFlags {
  std::vector<std::string> image, video;
  std::optional<double> fps;
  std::optional<std::string> pixels, pinpoints;
  DecodeFlags decode;

  void bind(Flags& flags);
  bool given() const { return !image.empty() || !video.empty() || pixels; }
  /// The first of --image, --video and --pixels that was given.
  const char* first_given() const;
  /// The files of --image or --video, whose names are separated by commas and which may be given again. Throws UsageError.
  std::vector<std::string> names() const;
  std::vector<std::string> video_names() const;
  std::optional<PinpointRule> pinpoint_rule() const;
  /// The files of --image, --video and --pixels.
  void add_inputs(Provenance& provenance) const;
  /// Pictures and clips for one prompt, pictures first.
  std::vector<NamedMedia> read(const PictureReader& reader) const;
  NamedMedia read_clip(const std::string& name, const PictureReader& reader) const;
  /// The tensors of --pixels under a processor's names (commands.md); `input_ids` say how many tokens a tile-wise picture
  /// has where no size does. Throws UsageError beside --image or --video, InputError for tensors that do not fit.
  std::vector<NamedMedia> read_pixels(const std::filesystem::path& model, const PictureReader& reader,
                                      const VlmConfig& config, const at::Tensor& input_ids) const;
  /// Pictures for a vision tower alone, [images, 3, S, S]: `pixel_values` of --pixels, or --image as the folder's
  /// settings ask for.
  at::Tensor read_for_tower(const std::filesystem::path& model) const;
};

/// A video file, or the frames of a folder in the order of their names.
std::vector<std::filesystem::path> files_of_clip(const std::filesystem::path& clip);

/// The pixels of a file; says so where an orientation tag is not followed.
at::Tensor read_rgb(const std::string& file, const DecodeOptions& decode);

}  // namespace ropescope::app
