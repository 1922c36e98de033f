// Images that a command gets: files (--image) or pixel values made elsewhere (--pixels).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ropescope/models/llava.h"
#include "ropescope/vision/image.h"
#include "ropescope/vision/preprocess.h"

#include "command.h"

namespace ropescope::app {

/// --image, --pixels, --pinpoints, --alpha, --exif.
po::options_description image_options();

/// --alpha and --exif alone, and what they say.
void add_decode_options(po::options_description& options);
DecodeOptions decode_options(const Arguments& arguments);

/// The pixels of a file; says so where an orientation tag is not followed.
at::Tensor read_rgb(const std::string& file, const DecodeOptions& decode);

bool has_images(const Arguments& arguments);
/// The files of --image, whose names are separated by commas and which may be given again.
std::vector<std::string> image_names(const Arguments& arguments);

/// The files of --image or --pixels.
void add_image_inputs(const Arguments& arguments, Provenance& provenance);

/// A prompt that names no image gets its images in front, one a line, as the models were trained.
std::string with_images_in_front(std::string text, size_t images);

struct ImageInput {
  std::vector<LlavaImage> images;
  std::vector<AnyresGeometry> geometries() const;
};

/// Images for a LLaVA-NeXT folder: thumbnail and tiles each, with the geometry that its settings give. The
/// file of --pixels has `pixel_values` [images, tiles, 3, S, S] and `image_sizes_hw` [images, 2].
ImageInput read_images(const Arguments& arguments, const std::filesystem::path& model);

/// Images for a vision tower, [images, 3, S, S]: `pixel_values` of --pixels, or --image as the folder's
/// settings ask for.
at::Tensor read_tower_pixels(const Arguments& arguments, const std::filesystem::path& model);

}  // namespace ropescope::app
