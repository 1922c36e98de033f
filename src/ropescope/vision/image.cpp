#include "ropescope/vision/image.h"

#include <algorithm>
#include <array>
#include <utility>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/vision/decoders.h"

namespace ropescope {

namespace {

using decoders::Source;

bool has_at(std::string_view text, size_t offset, std::string_view part) {
  return text.size() >= offset && text.substr(offset, part.size()) == part;
}

/// A known format that is not read here, for a sentence that helps.
std::string name_of_other(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, const char*>, 9> kOthers = {{
      {"%PDF", "a PDF document"},
      {"<svg", "an SVG drawing"},
      {"<?xml", "an XML document"},
      {"PK\x03\x04", "a zip archive"},
      {"\x1f\x8b", "a gzip file"},
      {"\x89HDF", "an HDF5 file"},
      {"GGUF", "a GGUF file"},
      {"8BPS", "a Photoshop file"},
      {"qoif", "a QOI image"},
  }};
  if (has_at(text, 4, "ftypheic") || has_at(text, 4, "ftypmif1")) return "a HEIC image";
  if (has_at(text, 4, "ftypavif")) return "an AVIF image";
  if (has_at(text, 4, "jP  ")) return "a JPEG 2000 image";
  for (const auto& [magic, name] : kOthers) {
    if (has_at(text, 0, magic)) return name;
  }
  std::string found = "a file that starts with the bytes";
  for (const char c : text.substr(0, 8)) found += fmt::format(" {:02x}", static_cast<unsigned char>(c));
  return found;
}

}  // namespace

AlphaRule parse_alpha_rule(const std::string& text) {
  if (text == "white") return AlphaRule::kWhite;
  if (text == "drop") return AlphaRule::kDrop;
  throw UsageError("--alpha: expected white or drop, found \"{}\"", text);
}

ExifRule parse_exif_rule(const std::string& text) {
  if (text == "apply") return ExifRule::kApply;
  if (text == "ignore") return ExifRule::kIgnore;
  throw UsageError("--exif: expected apply or ignore, found \"{}\"", text);
}

DecodedImage decode_image(std::span<const std::byte> bytes, const std::string& what,
                          const DecodeOptions& options) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.empty()) throw InputError("{}: expected an image, found an empty file", what);
  const Source source{bytes, what, options};
  DecodedImage image;
  if (has_at(text, 0, "\xff\xd8\xff")) {
    image = decoders::decode_jpeg(source);
  } else if (has_at(text, 0, "\x89PNG\r\n\x1a\n")) {
    image = decoders::decode_png(source);
  } else if (has_at(text, 0, "RIFF") && has_at(text, 8, "WEBP")) {
    image = decoders::decode_webp(source);
  } else if (has_at(text, 0, std::string_view("II*\0", 4)) || has_at(text, 0, std::string_view("MM\0*", 4)) ||
             has_at(text, 0, std::string_view("II+\0", 4)) || has_at(text, 0, std::string_view("MM\0+", 4))) {
    image = decoders::decode_tiff(source);
  } else if (has_at(text, 0, "GIF87a") || has_at(text, 0, "GIF89a")) {
    image = decoders::decode_gif(source);
  } else if (has_at(text, 0, "BM")) {
    image = decoders::decode_bmp(source);
  } else {
    throw InputError("{}: expected a JPEG, PNG, WebP, TIFF, GIF or BMP image, found {}", what,
                     name_of_other(text));
  }
  if (options.exif == ExifRule::kApply) image.rgb_HW3 = decoders::upright(image.rgb_HW3, image.orientation);
  return image;
}

DecodedImage read_image(const std::filesystem::path& path, const DecodeOptions& options) {
  const MappedFile file(path);
  return decode_image(file.bytes(), path.string(), options);
}

namespace decoders {

at::Tensor new_pixels(int64_t width, int64_t height, const Source& source) {
  if (width < 1 || height < 1) {
    throw InputError("{}: expected an image with pixels, found {}x{}", source.what, width, height);
  }
  if (width > source.options.most_pixels / height) {
    throw InputError(
        "{}: {}x{} pixels: expected at most {} pixels (a larger size is taken for a decompression "
        "bomb). Try a smaller copy",
        source.what, width, height, source.options.most_pixels);
  }
  return at::empty({height, width, 3}, at::kByte);
}

int samples_of(PixelKind kind) {
  switch (kind) {
    case PixelKind::kGray:
      return 1;
    case PixelKind::kGrayAlpha:
      return 2;
    case PixelKind::kRgb:
      return 3;
    default:
      return 4;
  }
}

void to_rgb(const uint8_t* in, PixelKind kind, AlphaRule alpha, int64_t count, uint8_t* out, int stride) {
  if (stride == 0) stride = samples_of(kind);
  const bool white = alpha == AlphaRule::kWhite;
  for (int64_t i = 0; i < count; ++i, in += stride, out += 3) {
    switch (kind) {
      case PixelKind::kGray:
        out[0] = out[1] = out[2] = in[0];
        break;
      case PixelKind::kGrayAlpha:
        out[0] = out[1] = out[2] = white ? over_white(in[0], in[1]) : in[0];
        break;
      case PixelKind::kRgb:
      case PixelKind::kRgbx:
        std::copy_n(in, 3, out);
        break;
      case PixelKind::kRgba:
        for (int c = 0; c < 3; ++c) out[c] = white ? over_white(in[c], in[3]) : in[c];
        break;
      case PixelKind::kCmyk: {
        const int light = 255 - in[3];
        for (int c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>(light - multiply_255(in[c], light));
        break;
      }
    }
  }
}

}  // namespace decoders

}  // namespace ropescope
