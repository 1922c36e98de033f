// TIFF by libtiff: the first page, from strips or tiles, samples together or in planes.
#include <algorithm>
#include <cstdarg>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include <tiffio.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/decoders.h"

namespace ropescope::decoders {

namespace {

/// libtiff's view of the bytes; its messages arrive here too.
struct Stream {
  const Source& source;
  uint64_t offset = 0;
  std::string message;
};

tmsize_t on_read(thandle_t handle, void* out, tmsize_t count) {
  auto* stream = static_cast<Stream*>(handle);
  const uint64_t size = stream->source.bytes.size();
  if (count <= 0 || stream->offset >= size) return 0;
  const uint64_t taken = std::min(static_cast<uint64_t>(count), size - stream->offset);
  std::memcpy(out, stream->source.data() + stream->offset, taken);
  stream->offset += taken;
  return static_cast<tmsize_t>(taken);
}
tmsize_t on_write(thandle_t, void*, tmsize_t) { return 0; }
toff_t on_seek(thandle_t handle, toff_t offset, int whence) {
  auto* stream = static_cast<Stream*>(handle);
  const uint64_t base = whence == SEEK_CUR   ? stream->offset
                        : whence == SEEK_END ? stream->source.bytes.size()
                                             : 0;
  stream->offset = base + offset;
  return stream->offset;
}
int on_close(thandle_t) { return 0; }
toff_t on_size(thandle_t handle) { return static_cast<Stream*>(handle)->source.bytes.size(); }

void on_error(thandle_t handle, const char* module, const char* format, va_list arguments) {
  if (handle == nullptr) return;
  char text[512];
  std::vsnprintf(text, sizeof text, format, arguments);
  auto& message = static_cast<Stream*>(handle)->message;
  if (message.empty()) message = fmt::format("{}: {}", module == nullptr ? "libtiff" : module, text);
}

/// libtiff's handlers belong to the process; by default they print.
void silence_libtiff() {
  static std::once_flag once;
  std::call_once(once, [] {
    TIFFSetErrorHandler(nullptr);
    TIFFSetWarningHandler(nullptr);
    TIFFSetWarningHandlerExt(nullptr);
    TIFFSetErrorHandlerExt(on_error);
  });
}

struct CloseTiff {
  void operator()(TIFF* tiff) const { TIFFClose(tiff); }
};

class TiffReader {
 public:
  explicit TiffReader(const Source& source) : source_(source), stream_{source, 0, {}} {
    silence_libtiff();
    // "m": no memory mapping, so that every read passes on_read's bounds.
    tiff_.reset(TIFFClientOpen("image", "rm", &stream_, on_read, on_write, on_seek, on_close, on_size,
                               nullptr, nullptr));
    if (!tiff_) fail("its first directory cannot be read");
  }

  DecodedImage read() {
    read_tags();
    DecodedImage image;
    image.format = "TIFF";
    image.rgb_HW3 = new_pixels(width_, height_, source_);
    if (photometric_ == PHOTOMETRIC_YCBCR && !jpeg_) {
      read_by_libtiff(image.rgb_HW3.mutable_data_ptr<uint8_t>());
    } else {
      read_bands(image.rgb_HW3.mutable_data_ptr<uint8_t>());
    }
    image.rgb_HW3 = upright(image.rgb_HW3, orientation_);
    return image;
  }

 private:
  [[noreturn]] void fail(const std::string& otherwise) const {
    throw InputError("{}: damaged TIFF image, or one that ends early: {}", source_.what,
                     stream_.message.empty() ? otherwise : stream_.message);
  }
  [[noreturn]] void unsupported() const {
    throw InputError(
        "{}: a TIFF of photometric {}, {} bits, {} samples and sample format {} is not supported. Try "
        "converting it to PNG",
        source_.what, photometric_, bits_, samples_, format_);
  }

  uint16_t short_tag(uint32_t tag) const {
    uint16_t value = 0;
    TIFFGetFieldDefaulted(tiff_.get(), tag, &value);
    return value;
  }
  uint32_t long_tag(uint32_t tag) const {
    uint32_t value = 0;
    TIFFGetFieldDefaulted(tiff_.get(), tag, &value);
    return value;
  }

  void read_tags() {
    width_ = long_tag(TIFFTAG_IMAGEWIDTH);
    height_ = long_tag(TIFFTAG_IMAGELENGTH);
    bits_ = short_tag(TIFFTAG_BITSPERSAMPLE);
    samples_ = short_tag(TIFFTAG_SAMPLESPERPIXEL);
    format_ = short_tag(TIFFTAG_SAMPLEFORMAT);
    photometric_ = short_tag(TIFFTAG_PHOTOMETRIC);
    const uint16_t orientation = short_tag(TIFFTAG_ORIENTATION);
    orientation_ = orientation >= 1 && orientation <= 8 ? orientation : 1;
    separate_ = samples_ > 1 && short_tag(TIFFTAG_PLANARCONFIG) == PLANARCONFIG_SEPARATE;
    if (short_tag(TIFFTAG_COMPRESSION) == COMPRESSION_JPEG && photometric_ == PHOTOMETRIC_YCBCR &&
        !separate_) {
      jpeg_ = true;
      TIFFSetField(tiff_.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    }
    constexpr int kMostSamples = 6;
    if (samples_ < 1 || samples_ > kMostSamples) unsupported();
    choose_kind();
  }

  /// What the samples mean, or unsupported().
  void choose_kind() {
    uint16_t extras = 0;
    uint16_t* extra = nullptr;
    TIFFGetField(tiff_.get(), TIFFTAG_EXTRASAMPLES, &extras, &extra);
    const int first_extra = extras > 0 && extra != nullptr ? extra[0] : -1;
    const bool is_byte = bits_ == 8 && format_ == SAMPLEFORMAT_UINT;
    const bool is_short = bits_ == 16 && format_ == SAMPLEFORMAT_UINT;
    int colors = 1;
    switch (photometric_) {
      case PHOTOMETRIC_MINISWHITE:
      case PHOTOMETRIC_MINISBLACK:
        kind_ = PixelKind::kGray;
        if (samples_ > 1 && first_extra == EXTRASAMPLE_ASSOCALPHA) unsupported();
        if (samples_ > 1 && !is_byte) unsupported();
        if (samples_ > 1 && first_extra == EXTRASAMPLE_UNASSALPHA) kind_ = PixelKind::kGrayAlpha;
        if (format_ == SAMPLEFORMAT_IEEEFP
                ? bits_ != 32
                : bits_ != 1 && bits_ != 2 && bits_ != 4 && bits_ != 8 && bits_ != 16 && bits_ != 32) {
          unsupported();
        }
        return;
      case PHOTOMETRIC_RGB:
        colors = 3;
        kind_ = PixelKind::kRgb;
        premultiplied_ = samples_ > 3 && first_extra == EXTRASAMPLE_ASSOCALPHA;
        if (samples_ > 3 && first_extra != EXTRASAMPLE_UNSPECIFIED) kind_ = PixelKind::kRgba;
        break;
      case PHOTOMETRIC_PALETTE:
        if (format_ != SAMPLEFORMAT_UINT || (bits_ != 1 && bits_ != 2 && bits_ != 4 && bits_ != 8))
          unsupported();
        kind_ = PixelKind::kGray;
        read_palette();
        return;
      case PHOTOMETRIC_SEPARATED:
        colors = 4;
        kind_ = PixelKind::kCmyk;
        break;
      case PHOTOMETRIC_YCBCR:
        colors = 3;
        kind_ = PixelKind::kRgb;
        if (!is_byte) unsupported();
        break;
      default:
        unsupported();
    }
    if ((!is_byte && !is_short) || samples_ < colors) unsupported();
  }

  void read_palette() {
    uint16_t *red = nullptr, *green = nullptr, *blue = nullptr;
    if (TIFFGetField(tiff_.get(), TIFFTAG_COLORMAP, &red, &green, &blue) != 1) fail("its palette is missing");
    for (int i = 0; i < (1 << bits_); ++i) {
      for (const uint16_t* channel : {red, green, blue})
        palette_.push_back(static_cast<uint8_t>(channel[i] >> 8));
    }
  }

  /// Chroma subsampling without JPEG: libtiff's own conversion.
  void read_by_libtiff(uint8_t* out) {
    std::vector<uint32_t> raster(static_cast<size_t>(width_ * height_));
    if (TIFFReadRGBAImageOriented(tiff_.get(), static_cast<uint32_t>(width_), static_cast<uint32_t>(height_),
                                  raster.data(), ORIENTATION_TOPLEFT, 1) != 1) {
      fail("its pixels cannot be decoded");
    }
    orientation_ = 1;
    for (const uint32_t pixel : raster) {
      *out++ = static_cast<uint8_t>(TIFFGetR(pixel));
      *out++ = static_cast<uint8_t>(TIFFGetG(pixel));
      *out++ = static_cast<uint8_t>(TIFFGetB(pixel));
    }
  }

  /// Rows of strips or tiles, one after the other.
  void read_bands(uint8_t* out) {
    TIFF* tiff = tiff_.get();
    const bool tiled = TIFFIsTiled(tiff) != 0;
    const int64_t block_w = tiled ? long_tag(TIFFTAG_TILEWIDTH) : width_;
    const int64_t block_h =
        tiled ? long_tag(TIFFTAG_TILELENGTH) : std::min<int64_t>(long_tag(TIFFTAG_ROWSPERSTRIP), height_);
    if (block_w < 1 || block_h < 1 || block_w > source_.options.most_pixels / block_h) {
      fail("its strips or tiles have an impossible size");
    }
    const int64_t in_block = separate_ ? 1 : samples_;  // samples of a pixel that lie side by side
    const int64_t row_bytes = (block_w * in_block * bits_ + 7) / 8;
    const tmsize_t block_bytes = tiled ? TIFFTileSize(tiff) : TIFFStripSize(tiff);
    if (block_bytes != static_cast<tmsize_t>(row_bytes * block_h)) {
      fail("its strips or tiles have an impossible size");
    }
    std::vector<uint8_t> packed(static_cast<size_t>(block_bytes));
    std::vector<uint8_t> row(static_cast<size_t>(block_w * in_block));
    std::vector<uint8_t> band(static_cast<size_t>(std::min(block_h, height_) * width_ * samples_));
    for (int64_t top = 0; top < height_; top += block_h) {
      const int64_t rows = std::min(block_h, height_ - top);
      for (int64_t left = 0; left < width_; left += block_w) {
        const int64_t columns = std::min(block_w, width_ - left);
        for (int plane = 0; plane < (separate_ ? samples_ : 1); ++plane) {
          read_block(tiled, left, top, plane, rows * row_bytes, packed);
          for (int64_t y = 0; y < rows; ++y) {
            unpack(packed.data() + y * row_bytes, columns * in_block, row.data());
            uint8_t* to = band.data() + (y * width_ + left) * samples_ + plane;
            for (int64_t x = 0; x < columns; ++x) {
              std::copy_n(row.data() + x * in_block, in_block, to + x * samples_);
            }
          }
        }
      }
      convert(band, rows * width_, out + top * width_ * 3);
    }
  }

  void read_block(bool tiled, int64_t left, int64_t top, int plane, int64_t needed,
                  std::vector<uint8_t>& packed) {
    TIFF* tiff = tiff_.get();
    const auto x = static_cast<uint32_t>(left), y = static_cast<uint32_t>(top);
    const auto size = static_cast<tmsize_t>(packed.size());
    const auto p = static_cast<uint16_t>(plane);
    const tmsize_t got =
        tiled ? TIFFReadEncodedTile(tiff, TIFFComputeTile(tiff, x, y, 0, p), packed.data(), size)
              : TIFFReadEncodedStrip(tiff, TIFFComputeStrip(tiff, y, p), packed.data(), size);
    if (got < static_cast<tmsize_t>(needed)) fail("its pixels cannot be decoded");
  }

  /// Packed samples to one byte each: small ones as they are, grey above 8 bits clipped to 0..255 and colours
  /// of 16 bits by their high byte, as Pillow does.
  void unpack(const uint8_t* packed, int64_t count, uint8_t* out) const {
    if (bits_ == 8) {
      std::copy_n(packed, count, out);
    } else if (bits_ < 8) {
      const int mask = (1 << bits_) - 1;
      for (int64_t i = 0; i < count; ++i) {
        const int64_t bit = i * bits_;
        out[i] = static_cast<uint8_t>((packed[bit / 8] >> (8 - bits_ - bit % 8)) & mask);
      }
    } else if (bits_ == 16 && kind_ == PixelKind::kGray && format_ == SAMPLEFORMAT_INT) {
      clip<int16_t>(packed, count, out);
    } else if (bits_ == 16 && kind_ == PixelKind::kGray) {
      clip<uint16_t>(packed, count, out);
    } else if (bits_ == 16) {
      for (int64_t i = 0; i < count; ++i) {
        uint16_t value = 0;
        std::memcpy(&value, packed + 2 * i, sizeof value);
        out[i] = static_cast<uint8_t>(value >> 8);
      }
    } else if (format_ == SAMPLEFORMAT_IEEEFP) {
      clip<float>(packed, count, out);
    } else {
      clip<int32_t>(packed, count, out);
    }
  }

  template <typename Number>
  static void clip(const uint8_t* packed, int64_t count, uint8_t* out) {
    for (int64_t i = 0; i < count; ++i) {
      Number value;
      std::memcpy(&value, packed + i * sizeof value, sizeof value);
      // A NaN fails both comparisons and becomes 0.
      out[i] = value >= Number{255} ? 255 : value > Number{0} ? static_cast<uint8_t>(value) : 0;
    }
  }

  void convert(std::vector<uint8_t>& band, int64_t count, uint8_t* out) const {
    if (!palette_.empty()) {
      for (int64_t i = 0; i < count; ++i)
        std::copy_n(palette_.data() + 3 * band[i * samples_], 3, out + 3 * i);
      return;
    }
    if (premultiplied_) {
      for (int64_t i = 0; i < count; ++i) {
        uint8_t* pixel = band.data() + i * samples_;
        for (int c = 0; c < 3; ++c) {
          pixel[c] = pixel[3] == 0 ? 0 : static_cast<uint8_t>(std::min(255, pixel[c] * 255 / pixel[3]));
        }
      }
    }
    const bool is_grey = photometric_ == PHOTOMETRIC_MINISBLACK || photometric_ == PHOTOMETRIC_MINISWHITE;
    if (is_grey && bits_ <= 8) {
      const int scale = 255 / ((1 << bits_) - 1);
      const bool inverted = photometric_ == PHOTOMETRIC_MINISWHITE;
      for (int64_t i = 0; i < count; ++i) {
        uint8_t& grey = band[i * samples_];
        grey = static_cast<uint8_t>(inverted ? 255 - grey * scale : grey * scale);
      }
    }
    to_rgb(band.data(), kind_, source_.options.alpha, count, out, samples_);
  }

  const Source& source_;
  Stream stream_;
  std::unique_ptr<TIFF, CloseTiff> tiff_;
  int64_t width_ = 0, height_ = 0;
  int bits_ = 0, samples_ = 0, format_ = 0, photometric_ = 0;
  int orientation_ = 1;
  bool separate_ = false;
  bool jpeg_ = false;
  bool premultiplied_ = false;
  PixelKind kind_ = PixelKind::kGray;
  std::vector<uint8_t> palette_;  ///< RGBRGB...
};

}  // namespace

DecodedImage decode_tiff(const Source& source) { return TiffReader(source).read(); }

}  // namespace ropescope::decoders
