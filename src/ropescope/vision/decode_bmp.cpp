// BMP by stb_image; this file only knows what Pillow makes of the header.
#include <cstdlib>
#include <memory>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#include <stb/stb_image.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/decoders.h"

namespace ropescope::decoders {

namespace {

constexpr uint32_t kUncompressed = 0, kBitFields = 3, kAlphaBitFields = 6;

struct BmpHeader {
  uint64_t pixel_offset = 0;
  int64_t width = 0, height = 0;
  int bits = 0;
  uint32_t compression = 0;
  uint32_t green_mask = 0, alpha_mask = 0;
};

BmpHeader read_bmp_header(const Source& source) {
  const auto number = [&](size_t offset, int bytes) {
    if (offset + static_cast<size_t>(bytes) > source.bytes.size()) {
      throw InputError("{}: expected a whole BMP image, found a file that ends early ({} bytes)", source.what,
                       source.bytes.size());
    }
    uint32_t value = 0;
    for (int i = bytes - 1; i >= 0; --i) value = value << 8 | source.data()[offset + static_cast<size_t>(i)];
    return value;
  };
  BmpHeader header;
  header.pixel_offset = number(10, 4);
  const uint32_t size = number(14, 4);
  if (size == 12) {  // OS/2
    header.width = number(18, 2);
    header.height = number(20, 2);
    header.bits = static_cast<int>(number(24, 2));
    return header;
  }
  if (size < 40) throw InputError("{}: damaged BMP image: a header of {} bytes", source.what, size);
  header.width = static_cast<int32_t>(number(18, 4));
  // Negative: rows from top to bottom.
  header.height = std::abs(int64_t{static_cast<int32_t>(number(22, 4))});
  header.bits = static_cast<int>(number(28, 2));
  header.compression = number(30, 4);
  if (header.compression == kBitFields || header.compression == kAlphaBitFields) {
    header.green_mask = number(58, 4);
    if (size >= 56 || header.compression == kAlphaBitFields) header.alpha_mask = number(66, 4);
  }
  return header;
}

}  // namespace

DecodedImage decode_bmp(const Source& source) {
  const BmpHeader header = read_bmp_header(source);
  DecodedImage image;
  image.format = "BMP";
  image.rgb_HW3 = new_pixels(header.width, header.height, source);
  if (header.compression != kUncompressed && header.compression != kBitFields &&
      header.compression != kAlphaBitFields) {
    throw InputError(
        "{}: expected an uncompressed BMP image, found compression {} (run lengths or an embedded file). Save it as PNG",
        source.what, header.compression);
  }
  // stb_image takes what is missing at the end for zeros.
  const uint64_t row_bytes =
      (static_cast<uint64_t>(header.width) * static_cast<uint64_t>(header.bits) + 31) / 32 * 4;
  if (header.pixel_offset + row_bytes * static_cast<uint64_t>(header.height) > source.bytes.size()) {
    throw InputError("{}: expected a whole BMP image, found a file that ends early ({} bytes)", source.what,
                     source.bytes.size());
  }
  int width = 0, height = 0, channels = 0;
  const std::unique_ptr<uint8_t, decltype(&std::free)> pixels(
      stbi_load_from_memory(source.data(), static_cast<int>(source.bytes.size()), &width, &height, &channels,
                            4),
      &std::free);
  if (!pixels || width != header.width || height != header.height) {
    throw InputError("{}: damaged BMP image, or a kind that is not read: {}", source.what,
                     pixels ? "two sizes" : stbi_failure_reason());
  }
  const int64_t count = header.width * header.height;
  uint8_t* rgba = pixels.get();
  if (header.bits == 16) {
    // Pillow widens 5 and 6 bits by v 255 / 31 (or 63), cut off; stb_image repeats the upper bits, which keeps v.
    const int green_bits = header.green_mask == 0x7e0 ? 6 : 5;
    const auto widen = [](uint8_t& sample, int bits) {
      sample = static_cast<uint8_t>((sample >> (8 - bits)) * 255 / ((1 << bits) - 1));
    };
    for (int64_t i = 0; i < count; ++i) {
      widen(rgba[4 * i], 5);
      widen(rgba[4 * i + 1], green_bits);
      widen(rgba[4 * i + 2], 5);
    }
  }
  // The fourth byte is transparency only where a mask says so.
  const PixelKind kind = header.bits == 32 && header.alpha_mask != 0 ? PixelKind::kRgba : PixelKind::kRgbx;
  const int stride = 4;
  to_rgb(rgba, kind, source.options.alpha, count, image.rgb_HW3.mutable_data_ptr<uint8_t>(), stride);
  return image;
}

}  // namespace ropescope::decoders
