// Image files of all formats, and the settings that a preprocessor_config.json gives.
#include "ropescope/vision/image.h"
#include "ropescope/vision/preprocess.h"

#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(image, bytes) {
  using namespace ropescope;
  if (!bytes.empty() && bytes[0] == std::byte{'{'}) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const Json json = parse_json(text, "preprocessor_config.json");
    const PreprocessSettings settings = parse_preprocess_settings(json, json, nullptr, std::nullopt, "fuzz");
    if (settings.anyres) anyres_geometry(33, 20000, *settings.anyres);
    return;
  }
  DecodeOptions options;
  options.exif = ExifRule::kApply;
  options.most_pixels = 1 << 16;  // for speed; the rule is the same
  const DecodedImage image = decode_image(bytes, "fuzz", options);
  if (image.rgb_HW3.numel() != image.rgb_HW3.size(0) * image.rgb_HW3.size(1) * 3 ||
      image.rgb_HW3.size(0) * image.rgb_HW3.size(1) > options.most_pixels) {
    throw InternalError("an image of an impossible shape was accepted");
  }
}
