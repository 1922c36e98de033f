// The orientation tag (EXIF 0x0112, XMP tiff:Orientation) and what it means.
#include <optional>

#include <ATen/ops/flip.h>

#include "ropescope/vision/decoders.h"

namespace ropescope::decoders {

namespace {

/// Unsigned numbers of a TIFF structure, which EXIF is, in its byte order.
class TiffNumbers {
 public:
  TiffNumbers(std::span<const uint8_t> bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}

  std::optional<uint32_t> read(uint64_t offset, unsigned width) const {
    if (offset + width > bytes_.size()) return std::nullopt;
    uint32_t value = 0;
    for (unsigned i = 0; i < width; ++i) {
      const uint32_t byte = bytes_[offset + i];
      value |= byte << (8 * (big_endian_ ? width - 1 - i : i));
    }
    return value;
  }

 private:
  std::span<const uint8_t> bytes_;
  bool big_endian_;
};

int valid(uint32_t orientation) {
  return orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 0;
}

}  // namespace

int exif_orientation(std::span<const uint8_t> exif) {
  constexpr std::string_view kPrefix("Exif\0\0", 6);
  const auto text = [&] { return std::string_view(reinterpret_cast<const char*>(exif.data()), exif.size()); };
  while (text().substr(0, kPrefix.size()) == kPrefix) exif = exif.subspan(kPrefix.size());
  const bool big_endian = text().substr(0, 2) == "MM";
  if (!big_endian && text().substr(0, 2) != "II") return 0;
  const TiffNumbers numbers(exif, big_endian);
  const auto directory = numbers.read(4, 4);
  if (!directory) return 0;
  const uint32_t entries = numbers.read(*directory, 2).value_or(0);
  for (uint32_t i = 0; i < entries; ++i) {
    const uint64_t entry = uint64_t{*directory} + 2 + 12 * uint64_t{i};
    if (numbers.read(entry, 2) != 0x0112U) continue;
    const uint32_t type = numbers.read(entry + 2, 2).value_or(0);
    if (numbers.read(entry + 4, 4) != 1U) return 0;
    constexpr uint32_t kByte = 1, kShort = 3, kLong = 4;
    const unsigned width = type == kByte ? 1 : type == kShort ? 2 : type == kLong ? 4 : 0;
    return width == 0 ? 0 : valid(numbers.read(entry + 8, width).value_or(0));
  }
  return 0;
}

int xmp_orientation(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (size_t at = xmp.find(kName); at != std::string_view::npos; at = xmp.find(kName, at + 1)) {
    std::string_view rest = xmp.substr(at + kName.size());
    if (rest.substr(0, 2) == "=\"") {
      rest.remove_prefix(2);
    } else if (rest.substr(0, 1) == ">") {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return valid(static_cast<uint32_t>(rest[0] - '0'));
  }
  return 0;
}

int combined_orientation(std::span<const uint8_t> exif, std::string_view xmp) {
  const int from_exif = exif_orientation(exif);
  if (from_exif != 0) return from_exif;
  const int from_xmp = xmp_orientation(xmp);
  return from_xmp != 0 ? from_xmp : 1;
}

at::Tensor upright(const at::Tensor& image_HW3, int orientation) {
  const bool swap = orientation >= 5;
  const at::Tensor turned = swap ? image_HW3.transpose(0, 1) : image_HW3;
  switch (orientation) {
    case 2:  // mirrored
    case 6:  // a quarter turn clockwise
      return at::flip(turned, {1}).contiguous();
    case 3:  // half a turn
    case 7:  // mirrored along the other diagonal
      return at::flip(turned, {0, 1}).contiguous();
    case 4:  // upside down
    case 8:  // a quarter turn the other way
      return at::flip(turned, {0}).contiguous();
    default:  // 5 is the transposition itself
      return turned.contiguous();
  }
}

}  // namespace ropescope::decoders
