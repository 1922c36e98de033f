// What the decoders of the formats share. Internal to vision/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "ropescope/vision/image.h"

namespace ropescope::decoders {

/// A file's bytes, its name for errors, and what is asked for.
struct Source {
  std::span<const std::byte> bytes;
  std::string what;
  DecodeOptions options;

  const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(bytes.data()); }
};

/// A new uint8 [height, width, 3], after refusing zero sizes and decompression bombs.
at::Tensor new_pixels(int64_t width, int64_t height, const Source& source);

enum class PixelKind { kGray, kGrayAlpha, kRgb, kRgbx, kRgba, kCmyk };
int samples_of(PixelKind kind);

/// `count` pixels of 8-bit samples, each `stride` samples wide (0: samples_of(kind)), to RGB.
void to_rgb(const uint8_t* in, PixelKind kind, AlphaRule alpha, int64_t count, uint8_t* out, int stride = 0);

/// round(a b / 255)
inline uint8_t multiply_255(int a, int b) { return static_cast<uint8_t>((a * b + 127) / 255); }
/// A sample of transparency `alpha` over white.
inline uint8_t over_white(int sample, int alpha) {
  return static_cast<uint8_t>((sample * alpha + 255 * (255 - alpha) + 127) / 255);
}

/// The orientation, 1-8, of an EXIF block (with or without its "Exif\0\0"), 0 if it says none.
int exif_orientation(std::span<const uint8_t> exif);
/// The same of an XMP packet.
int xmp_orientation(std::string_view xmp);
/// EXIF first, else XMP, else 1.
int combined_orientation(std::span<const uint8_t> exif, std::string_view xmp);
/// The image as its orientation means it: uint8 [H, W, 3] or [W, H, 3], contiguous.
at::Tensor upright(const at::Tensor& image_HW3, int orientation);

DecodedImage decode_jpeg(const Source& source);
DecodedImage decode_png(const Source& source);
DecodedImage decode_webp(const Source& source);
DecodedImage decode_tiff(const Source& source);
/// The first frame. What it leaves free of the canvas is transparent, or of index 0 without transparency, as in Pillow.
DecodedImage decode_gif(const Source& source);
/// Uncompressed ones of 1 to 32 bits.
DecodedImage decode_bmp(const Source& source);

}  // namespace ropescope::decoders
