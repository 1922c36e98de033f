// Image files to RGB pixels, as Pillow's convert("RGB") gives them: JPEG (libjpeg-turbo: accurate integer
// DCT, smooth chroma; CMYK by the simple conversion), PNG (grey 1-16 bit, palette, RGB, alpha, 16 bit), WebP and GIF
// (first frame), TIFF (first page), BMP (uncompressed). Colour profiles and gamma are not applied. Files are untrusted: sizes are
// checked before anything of that size is allocated, and a file that ends early is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// What becomes of transparency. kWhite: the image lies over white, as in Hugging Face's image processors;
/// kDrop: the colours as stored, as in the original LLaVA loader.
enum class AlphaRule { kWhite, kDrop };

/// Whether the EXIF (else XMP) orientation turns the image. kIgnore: as both reference image processors do
/// with an opened image; kApply: as Hugging Face's load-from-path helper does. A TIFF's own orientation tag
/// always counts, as in Pillow.
enum class ExifRule { kApply, kIgnore };

/// "white" or "drop"; "apply" or "ignore". Throw UsageError.
AlphaRule parse_alpha_rule(const std::string& text);
ExifRule parse_exif_rule(const std::string& text);

/// 2^30 / 4 / 3 * 2: where Pillow refuses an image as a decompression bomb. As RGB that is 537 MB.
inline constexpr int64_t kMostImagePixels = 178'956'970;

struct DecodeOptions {
  AlphaRule alpha = AlphaRule::kWhite;
  ExifRule exif = ExifRule::kIgnore;
  int64_t most_pixels = kMostImagePixels;
};

struct DecodedImage {
  at::Tensor rgb_HW3;   ///< uint8 [H, W, 3], contiguous, CPU
  std::string format;   ///< "JPEG", "PNG", "WebP", "TIFF", "GIF", "BMP"
  int orientation = 1;  ///< 1-8 as the file says (EXIF tag 0x0112), applied or not; 1 for TIFF
};

/// `what` names the file in errors. Throws InputError: not one of the four formats, damaged, ends early, no
/// pixels, more than `most_pixels`, or a variant that Pillow does not read either (for example 12-bit JPEG).
DecodedImage decode_image(std::span<const std::byte> bytes, const std::string& what,
                          const DecodeOptions& options = {});
DecodedImage read_image(const std::filesystem::path& path, const DecodeOptions& options = {});

}  // namespace ropescope
