// Decoding against Pillow's pixels, and files that are not what they claim.
#include "ropescope/vision/image.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"
#include "tests/vision/digest.h"

namespace ropescope {
namespace {

using testing::digest;
using ::testing::HasSubstr;

std::string read_golden(const std::string& name) { return read_file(testing::golden_path("vision/" + name)); }

DecodedImage decode(const std::string& text, const DecodeOptions& options = {}) {
  // A copy of its exact length, so that a sanitizer sees a read past the end.
  const std::vector<char> copy(text.begin(), text.end());
  return decode_image(std::as_bytes(std::span(copy)), "test image", options);
}

/// The message with which `text` is refused; empty if it is accepted.
std::string refusal(const std::string& text, const DecodeOptions& options = {}) {
  return testing::refusal_of([&] { decode(text, options); });
}

bool may_be_cut(const std::string& file) {
  return file.find(".tif") != std::string::npos || file.find(".gif") != std::string::npos;
}

TEST(Image, GoldenFilesDecodeToPillowsPixels) {
  const Json golden = testing::golden_json("vision/preprocess/preprocess.json");
  ASSERT_GE(golden["images"].size(), 10u);
  for (const Json& image : golden["images"]) {
    const std::string file = image["file"];
    const std::string bytes = read_golden("preprocess/synthetic/" + file);
    const DecodedImage white = decode(bytes);
    EXPECT_EQ(digest(white.rgb_HW3), image["rgb_hf_sha256"]) << file;
    EXPECT_EQ(white.rgb_HW3.size(1), image["size_wh"][0]) << file;
    EXPECT_EQ(digest(decode(bytes, {AlphaRule::kDrop}).rgb_HW3), image["rgb_convert_sha256"]) << file;
    if (!image.contains("exif_orientation")) continue;
    EXPECT_EQ(white.orientation, image["exif_orientation"]);
    const DecodedImage turned = decode(bytes, {AlphaRule::kWhite, ExifRule::kApply});
    EXPECT_EQ(digest(turned.rgb_HW3), image["rgb_exif_transposed_sha256"]);
  }
}

TEST(Image, EveryFormatAlphaAndOrientation) {
  const Json golden = testing::golden_json("vision/formats/formats.json")["files"];
  ASSERT_GE(golden.size(), 50u);
  for (const auto& [file, expected] : golden.items()) {
    const std::string bytes = read_golden("formats/" + file);
    for (const char* alpha : {"white", "drop"}) {
      for (const char* exif : {"ignore", "apply"}) {
        const DecodedImage image = decode(bytes, {parse_alpha_rule(alpha), parse_exif_rule(exif)});
        EXPECT_EQ(digest(image.rgb_HW3), expected[std::string(alpha) + "_" + exif])
            << file << " " << alpha << " " << exif;
      }
    }
  }
}

TEST(Image, FilesThatEndEarlyAreRefused) {
  const Json golden = testing::golden_json("vision/formats/formats.json")["files"];
  for (const auto& [file, unused] : golden.items()) {
    const std::string bytes = read_golden("formats/" + file);
    const size_t step = std::max<size_t>(1, bytes.size() / 40);
    for (size_t length = 0; length < bytes.size(); length += step) {
      // In a TIFF the pixels may come before what is cut off: the first directory must be whole. Of a GIF the first frame is.
      if (may_be_cut(file) && refusal(bytes.substr(0, length)).empty()) continue;
      EXPECT_THAT(refusal(bytes.substr(0, length)), HasSubstr("test image: ")) << file << " " << length;
    }
    if (!may_be_cut(file)) {
      EXPECT_THAT(refusal(bytes.substr(0, bytes.size() / 2)), HasSubstr("ends early")) << file;
      EXPECT_NE(refusal(bytes.substr(0, bytes.size() - 1)), "") << file;
    }
  }
}

TEST(Image, DecompressionBombsAreRefusedByTheirHeader) {
  std::string png = read_golden("formats/png_l.png");
  const std::string small = png;
  // 65535 x 65535 in IHDR, with the checksum that belongs to it.
  const std::string header("\x00\x00\xff\xff\x00\x00\xff\xff", 8);
  png.replace(16, 8, header);
  EXPECT_NE(refusal(png), "");  // whichever libpng says first: the checksum
  DecodeOptions few;
  few.most_pixels = 100;
  EXPECT_THAT(refusal(small, few), HasSubstr("23x19 pixels: expected at most 100 pixels"));
  for (const char* file :
       {"jpeg_prog.jpg", "webp_a.webp", "webp_anim.webp", "tiff_jpeg.tif", "gif_p.gif", "bmp_rgb.bmp"}) {
    EXPECT_THAT(refusal(read_golden(std::string("formats/") + file), few), HasSubstr("decompression bomb"))
        << file;
  }
  // A JPEG's size is not protected by a checksum: 65500 x 65500 from 1 KB.
  std::string jpeg = read_golden("formats/jpeg_gray.jpg");
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xff\xdc\xff\xdc");
  EXPECT_THAT(refusal(jpeg), HasSubstr("65500x65500 pixels: expected at most 178956970"));
}

TEST(Image, OtherFilesAreNamed) {
  EXPECT_THAT(refusal(""), HasSubstr("empty file"));
  EXPECT_THAT(refusal("GIF89a......"), HasSubstr("GIF image"));
  EXPECT_THAT(refusal(read_golden("formats/gif_interlaced.gif").substr(0, 300)), HasSubstr("ends early"));
  EXPECT_THAT(refusal("%PDF-1.7"), HasSubstr("found a PDF document"));
  EXPECT_THAT(refusal(std::string("\0\0\0\x18"
                                  "ftypheic",
                                  12)),
              HasSubstr("HEIC"));
  EXPECT_THAT(refusal("hello"), HasSubstr("68 65 6c 6c 6f"));
  EXPECT_THROW(read_image(testing::golden_path("vision/no-such-file.png")), InputError);
  EXPECT_THROW(read_image(testing::golden_path("vision")), InputError);
  EXPECT_THROW(parse_alpha_rule("black"), UsageError);
  EXPECT_THROW(parse_exif_rule("auto"), UsageError);
}

}  // namespace
}  // namespace ropescope
