// Images that a command gets: files (--image) or pixel values made elsewhere (--pixels).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/io/result_file.h"
#include "ropescope/models/llava.h"
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

struct ImageInput {
  std::vector<LlavaImage> images;
  std::vector<AnyresGeometry> geometries() const;
};

/// --image, --pixels, --pinpoints, --alpha, --exif.
struct ImageFlags {
  std::vector<std::string> image;
  std::optional<std::string> pixels, pinpoints;
  DecodeFlags decode;

  void bind(Flags& flags);
  bool given() const { return !image.empty() || pixels; }
  /// The files of --image, whose names are separated by commas and which may be given again. Throws UsageError.
  std::vector<std::string> names() const;
  std::optional<PinpointRule> pinpoint_rule() const;
  /// The files of --image or --pixels.
  void add_inputs(Provenance& provenance) const;
  /// Images for a LLaVA-NeXT folder: thumbnail and tiles each, with the geometry that its settings give. The
  /// file of --pixels has `pixel_values` [images, tiles, 3, S, S] and `image_sizes_hw` [images, 2].
  ImageInput read(const std::filesystem::path& model) const;
  /// Images for a vision tower, [images, 3, S, S]: `pixel_values` of --pixels, or --image as the folder's
  /// settings ask for.
  at::Tensor read_for_tower(const std::filesystem::path& model) const;
};

/// The pixels of a file; says so where an orientation tag is not followed.
at::Tensor read_rgb(const std::string& file, const DecodeOptions& decode);

/// A prompt that names no image gets its images in front, one a line, as the models were trained.
std::string with_images_in_front(std::string text, size_t images);

}  // namespace ropescope::app
