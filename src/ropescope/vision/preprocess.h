// From pixels to what a vision tower takes: the image processors of CLIP, SigLIP and LLaVA-NeXT. Everything
// up to the tiles is 8-bit and equal to the Pillow path of the Hugging Face processors bit for bit; then
//   pixel_value = (float32(value * rescale_factor) - mean) / std        (float32)
// Padding is black before normalisation.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

#include "ropescope/core/json.h"
#include "ropescope/vision/anyres.h"
#include "ropescope/vision/resize.h"

namespace ropescope {

struct PreprocessSettings {
  /// kShortestEdge: the shorter side becomes `resize_height`, the longer int(edge * long / short); kExact:
  /// squeezed to resize_height x resize_width.
  enum class Resize { kShortestEdge, kExact };

  std::string name;  ///< the preset, or the file that the settings come from
  Resize resize = Resize::kShortestEdge;
  int64_t resize_height = 336, resize_width = 336;  ///< pixels
  std::optional<std::array<int64_t, 2>> crop_hw;    ///< centre crop, pixels; at most the resized size
  ResampleFilter filter = ResampleFilter::kBicubic;
  double rescale_factor = 1.0 / 255.0;
  std::array<double, 3> mean{};  ///< red, green, blue, after rescaling
  std::array<double, 3> std{};
  std::optional<AnyresOptions> anyres;  ///< with it, an image becomes thumbnail and tiles of S x S

  /// [height, width] of what the vision tower gets.
  std::array<int64_t, 2> output_hw() const;
};

/// "clip" (336), "siglip" (384), "llava-next-clip", "llava-next-siglip". Throws UsageError naming the
/// nearest.
PreprocessSettings preset_settings(const std::string& name);

/// From a model folder: preprocessor_config.json (or `image_processor` of processor_config.json) where there
/// is one, else the preset of the vision tower that config.json names, at its image size. Pinpoints and patch
/// size come from config.json; the rule from its form (Hugging Face or original LLaVA) unless `rule` says.
/// Throws InputError if the folder says nothing about images, or asks for what is not supported.
PreprocessSettings read_preprocess_settings(const std::filesystem::path& folder,
                                            std::optional<PinpointRule> rule = std::nullopt);

/// The same from parsed files: `processor` may be null; `tower` is the vision tower's config.json beside an
/// original LLaVA checkpoint, or null. `what` names the folder in errors.
PreprocessSettings parse_preprocess_settings(const Json& config, const Json& processor, const Json& tower,
                                             std::optional<PinpointRule> rule, const std::string& what);

/// Throws InputError naming the first setting that cannot be: sizes not in 1..8192, a crop larger than what
/// is cropped, a std that is not positive, tiles that are not what the tower gets.
void check_preprocess_settings(const PreprocessSettings& settings, const std::string& what);

struct PreprocessedImage {
  at::Tensor tiles;  ///< uint8 [n, 3, S, S] before rescaling; n = 1, or thumbnail first and then row-major
  at::Tensor pixel_values;                 ///< float32 [n, 3, S, S]
  std::optional<AnyresGeometry> geometry;  ///< with anyres
};

/// `image_HW3`: uint8 [H, W, 3], see image.h. Throws InputError as anyres_geometry does.
PreprocessedImage preprocess_image(const at::Tensor& image_HW3, const PreprocessSettings& settings);

/// float32 of uint8 tiles [n, 3, S, S].
at::Tensor normalize_tiles(const at::Tensor& tiles, const PreprocessSettings& settings);

}  // namespace ropescope
