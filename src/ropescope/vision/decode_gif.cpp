// GIF by giflib: the first frame, on the canvas that the file asks for.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include <gif_lib.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/decoders.h"

namespace ropescope::decoders {

namespace {

// A file that ends after its first frame, without the mark of its end, is read: so does Pillow.
class GifReader {
 public:
  explicit GifReader(const Source& source) : source_(source) {
    int error = 0;
    gif_.reset(DGifOpen(this, on_read, &error));
    if (!gif_) fail(error);
  }

  DecodedImage read() {
    const int transparent = find_first_image();
    const GifImageDesc& frame = gif_->Image;
    // As Pillow does, a frame that leaves the canvas widens it.
    const int64_t width = std::max<int64_t>(gif_->SWidth, int64_t{frame.Left} + frame.Width);
    const int64_t height = std::max<int64_t>(gif_->SHeight, int64_t{frame.Top} + frame.Height);
    DecodedImage image;
    image.format = "GIF";
    image.rgb_HW3 = new_pixels(width, height, source_);
    if (frame.Width < 1 || frame.Height < 1) {
      throw InputError("{}: damaged GIF image: its first frame has no pixels", source_.what);
    }
    read_palette(transparent);
    // What the frame does not cover has the transparent index, or index 0 where there is none.
    std::vector<uint8_t> row(static_cast<size_t>(width));
    uint8_t* out = image.rgb_HW3.mutable_data_ptr<uint8_t>();
    std::fill(row.begin(), row.end(), static_cast<uint8_t>(std::max(transparent, 0)));
    for (int64_t y = 0; y < height; ++y) convert(row.data(), width, out + 3 * width * y);
    std::vector<uint8_t> line(static_cast<size_t>(frame.Width));
    // Interlaced rows come in four passes: every 8th from 0, every 8th from 4, every 4th from 2, every 2nd from 1.
    constexpr std::array<std::array<int, 2>, 4> kPasses = {{{0, 8}, {4, 8}, {2, 4}, {1, 2}}};
    const auto read_rows = [&](int first, int step) {
      for (int y = first; y < frame.Height; y += step) {
        if (DGifGetLine(gif_.get(), line.data(), frame.Width) != GIF_OK) fail(gif_->Error);
        convert(line.data(), frame.Width, out + 3 * (width * (frame.Top + y) + frame.Left));
      }
    };
    if (frame.Interlace) {
      for (const auto& [first, step] : kPasses) read_rows(first, step);
    } else {
      read_rows(0, 1);
    }
    return image;
  }

 private:
  struct Close {
    void operator()(GifFileType* gif) const {
      int error = 0;
      DGifCloseFile(gif, &error);
    }
  };

  static int on_read(GifFileType* gif, GifByteType* out, int count) {
    auto* reader = static_cast<GifReader*>(gif->UserData);
    const size_t left = reader->source_.bytes.size() - reader->offset_;
    const size_t taken = std::min(left, static_cast<size_t>(std::max(count, 0)));
    if (taken < static_cast<size_t>(std::max(count, 0))) reader->early_end_ = true;
    std::memcpy(out, reader->source_.data() + reader->offset_, taken);
    reader->offset_ += taken;
    return static_cast<int>(taken);
  }

  [[noreturn]] void fail(int error) const {
    if (early_end_) {
      throw InputError("{}: expected a whole GIF image, found a file that ends early ({} bytes)",
                       source_.what, source_.bytes.size());
    }
    const char* text = GifErrorString(error);
    throw InputError("{}: damaged GIF image: {}", source_.what, text == nullptr ? "unknown error" : text);
  }

  /// Leaves the reader before the first frame's pixels; the transparent index, or -1.
  int find_first_image() {
    int transparent = -1;
    for (;;) {
      GifRecordType type{};
      if (DGifGetRecordType(gif_.get(), &type) != GIF_OK) fail(gif_->Error);
      if (type == IMAGE_DESC_RECORD_TYPE) {
        if (DGifGetImageDesc(gif_.get()) != GIF_OK) fail(gif_->Error);
        return transparent;
      }
      if (type == TERMINATE_RECORD_TYPE)
        throw InputError("{}: damaged GIF image: expected a frame, found none", source_.what);
      if (type != EXTENSION_RECORD_TYPE) continue;
      int code = 0;
      GifByteType* block = nullptr;
      if (DGifGetExtension(gif_.get(), &code, &block) != GIF_OK) fail(gif_->Error);
      // A graphics control block: its length, then flags, delay (2 bytes) and the transparent index.
      if (code == GRAPHICS_EXT_FUNC_CODE && block != nullptr && block[0] >= 4 && (block[1] & 1) != 0)
        transparent = block[4];
      while (block != nullptr) {
        if (DGifGetExtensionNext(gif_.get(), &block) != GIF_OK) fail(gif_->Error);
      }
    }
  }

  void read_palette(int transparent) {
    const ColorMapObject* colors = gif_->Image.ColorMap != nullptr ? gif_->Image.ColorMap : gif_->SColorMap;
    // Without a colour table an index is a grey level; beyond a short one it is black.
    for (size_t i = 0; i < palette_.size(); ++i) {
      const auto grey = static_cast<uint8_t>(colors == nullptr ? i : 0);
      palette_[i] = {grey, grey, grey, 255};
    }
    for (int i = 0; colors != nullptr && i < colors->ColorCount && i < 256; ++i) {
      const GifColorType& color = colors->Colors[i];
      palette_[static_cast<size_t>(i)] = {color.Red, color.Green, color.Blue, 255};
    }
    if (transparent >= 0) palette_[static_cast<size_t>(transparent)][3] = 0;
  }

  void convert(const uint8_t* indices, int64_t count, uint8_t* out) const {
    for (int64_t x = 0; x < count; ++x)
      to_rgb(palette_[indices[x]].data(), PixelKind::kRgba, source_.options.alpha, 1, out + 3 * x);
  }

  const Source& source_;
  size_t offset_ = 0;
  bool early_end_ = false;
  std::unique_ptr<GifFileType, Close> gif_;
  std::array<std::array<uint8_t, 4>, 256> palette_{};
};

}  // namespace

DecodedImage decode_gif(const Source& source) { return GifReader(source).read(); }

}  // namespace ropescope::decoders
