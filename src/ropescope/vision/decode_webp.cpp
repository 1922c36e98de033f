// WebP by libwebp: a still image, or the first frame of an animation on its canvas.
#include <algorithm>
#include <memory>

#include <webp/decode.h>
#include <webp/demux.h>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/decoders.h"

namespace ropescope::decoders {

namespace {

struct DeleteDemuxer {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};
struct DeleteAnimation {
  void operator()(WebPAnimDecoder* decoder) const { WebPAnimDecoderDelete(decoder); }
};

[[noreturn]] void fail(const Source& source, const std::string& reason) {
  throw InputError("{}: damaged WebP image: {}", source.what, reason);
}

std::span<const uint8_t> chunk(const WebPDemuxer* demuxer, const char* name) {
  WebPChunkIterator iterator;
  std::span<const uint8_t> payload;
  if (WebPDemuxGetChunk(demuxer, name, 1, &iterator) != 0)
    payload = {iterator.chunk.bytes, iterator.chunk.size};
  WebPDemuxReleaseChunkIterator(&iterator);
  return payload;
}

void decode_still(const Source& source, const WebPBitstreamFeatures& features, at::Tensor& rgb) {
  const int64_t width = features.width, height = features.height;
  uint8_t* out = rgb.mutable_data_ptr<uint8_t>();
  const uint8_t* data = source.data();
  const size_t size = source.bytes.size();
  if (features.has_alpha == 0) {
    if (WebPDecodeRGBInto(data, size, out, static_cast<size_t>(3 * width * height),
                          static_cast<int>(3 * width)) == nullptr) {
      fail(source, "its pixels cannot be decoded");
    }
    return;
  }
  const at::Tensor rgba = at::empty({height, width, 4}, at::kByte);
  auto* pixels = rgba.mutable_data_ptr<uint8_t>();
  if (WebPDecodeRGBAInto(data, size, pixels, static_cast<size_t>(4 * width * height),
                         static_cast<int>(4 * width)) == nullptr) {
    fail(source, "its pixels cannot be decoded");
  }
  to_rgb(pixels, PixelKind::kRgba, source.options.alpha, width * height, out);
}

void decode_first_frame(const Source& source, const WebPBitstreamFeatures& features, at::Tensor& rgb) {
  WebPAnimDecoderOptions options;
  if (WebPAnimDecoderOptionsInit(&options) == 0) fail(source, "libwebp's version differs from its headers'");
  options.color_mode = MODE_RGBA;
  const WebPData data{source.data(), source.bytes.size()};
  const std::unique_ptr<WebPAnimDecoder, DeleteAnimation> decoder(WebPAnimDecoderNew(&data, &options));
  WebPAnimInfo info;
  uint8_t* frame = nullptr;
  int timestamp = 0;
  if (!decoder || WebPAnimDecoderGetInfo(decoder.get(), &info) == 0 ||
      WebPAnimDecoderGetNext(decoder.get(), &frame, &timestamp) == 0) {
    fail(source, "its first frame cannot be decoded");
  }
  if (info.canvas_width != static_cast<uint32_t>(features.width) ||
      info.canvas_height != static_cast<uint32_t>(features.height)) {
    fail(source, "its headers disagree about the size");
  }
  const PixelKind kind = features.has_alpha != 0 ? PixelKind::kRgba : PixelKind::kRgbx;
  to_rgb(frame, kind, source.options.alpha, rgb.size(0) * rgb.size(1), rgb.mutable_data_ptr<uint8_t>());
}

}  // namespace

DecodedImage decode_webp(const Source& source) {
  const size_t size = source.bytes.size();
  const uint8_t* data = source.data();
  // RIFF's own length, little endian: what follows the first 8 bytes.
  uint64_t riff = 0;
  for (size_t i = 0; i < 4 && size >= 12; ++i) riff |= uint64_t{data[4 + i]} << (8 * i);
  if (riff + 8 > size) {
    throw InputError("{}: expected a WebP image of {} bytes, found a file that ends early ({} bytes)",
                     source.what, riff + 8, size);
  }
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data, size, &features) != VP8_STATUS_OK) fail(source, "its header cannot be read");
  DecodedImage image;
  image.format = "WebP";
  image.rgb_HW3 = new_pixels(features.width, features.height, source);
  if (features.has_animation != 0) {
    decode_first_frame(source, features, image.rgb_HW3);
  } else {
    decode_still(source, features, image.rgb_HW3);
  }
  const WebPData whole{data, size};
  const std::unique_ptr<WebPDemuxer, DeleteDemuxer> demuxer(WebPDemux(&whole));
  if (demuxer) {
    const auto xmp = chunk(demuxer.get(), "XMP ");
    image.orientation = combined_orientation(chunk(demuxer.get(), "EXIF"),
                                             {reinterpret_cast<const char*>(xmp.data()), xmp.size()});
  }
  return image;
}

}  // namespace ropescope::decoders
