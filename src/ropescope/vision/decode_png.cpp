// PNG by libpng.
#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

#include <png.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/decoders.h"

namespace ropescope::decoders {

namespace {

class PngReader {
 public:
  explicit PngReader(const Source& source) : source_(source) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) throw EnvironmentError("{}: libpng: out of memory", source.what);
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  DecodedImage read() {
    if (!open()) fail();
    const int64_t width = png_get_image_width(png_, info_), height = png_get_image_height(png_, info_);
    color_ = png_get_color_type(png_, info_);
    depth_ = png_get_bit_depth(png_, info_);
    DecodedImage image;
    image.format = "PNG";
    image.rgb_HW3 = new_pixels(width, height, source_);
    // Deflate packs at most 1032 to 1: a short file that claims a large image cannot hold it.
    const uint64_t stored = (static_cast<uint64_t>(width) * samples() * depth_ / 8) * height;
    if (stored / 1032 > source_.bytes.size()) fail_early();
    if (!start()) fail();
    read_transparency();

    const bool interlaced = png_get_interlace_type(png_, info_) != PNG_INTERLACE_NONE;
    const size_t row_bytes = png_get_rowbytes(png_, info_);
    rows_.resize(row_bytes * static_cast<size_t>(interlaced ? height : 1));
    uint8_t* out = image.rgb_HW3.mutable_data_ptr<uint8_t>();
    if (interlaced) {
      std::vector<png_bytep> pointers(static_cast<size_t>(height));
      for (size_t y = 0; y < pointers.size(); ++y) pointers[y] = rows_.data() + y * row_bytes;
      if (!next_image(pointers.data())) fail();
      for (size_t y = 0; y < pointers.size(); ++y, out += 3 * width) convert(pointers[y], width, out);
    } else {
      for (int64_t y = 0; y < height; ++y, out += 3 * width) {
        if (!next_row(rows_.data())) fail();
        convert(rows_.data(), width, out);
      }
    }
    if (!finish()) fail();
    image.orientation = orientation();
    return image;
  }

 private:
  static void on_error(png_structp png, png_const_charp text) {
    auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
    std::strncpy(reader->message_, text, sizeof reader->message_ - 1);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp png, png_bytep out, size_t count) {
    auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
    if (count > reader->source_.bytes.size() - reader->offset_) {
      reader->early_end_ = true;
      png_error(png, "end of file");
    }
    std::memcpy(out, reader->source_.data() + reader->offset_, count);
    reader->offset_ += count;
  }

  // Nothing that has a destructor may live in the functions that an error leaves by a jump.
  bool open() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, this, on_read);
    // The limit on the number of pixels is ours; libpng's is 1,000,000 a side.
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_read_info(png_, info_);
    return true;
  }
  bool start() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    if (depth_ < 8) png_set_packing(png_);
    // Pillow takes the high byte of 16 bits, except in grey without alpha: see convert().
    if (depth_ == 16 && color_ != PNG_COLOR_TYPE_GRAY) png_set_strip_16(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }
  bool next_row(png_bytep row) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_row(png_, row, nullptr);
    return true;
  }
  bool next_image(png_bytepp rows) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_image(png_, rows);
    return true;
  }
  bool finish() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_end(png_, info_);
    return true;
  }

  [[noreturn]] void fail_early() const {
    throw InputError("{}: expected a whole PNG image, found a file that ends early ({} bytes)", source_.what,
                     source_.bytes.size());
  }
  [[noreturn]] void fail() const {
    if (early_end_) fail_early();
    throw InputError("{}: damaged PNG image: {}", source_.what, static_cast<const char*>(message_));
  }

  uint64_t samples() const {
    return color_ == PNG_COLOR_TYPE_GRAY_ALPHA  ? 2
           : color_ == PNG_COLOR_TYPE_RGB       ? 3
           : color_ == PNG_COLOR_TYPE_RGB_ALPHA ? 4
                                                : 1;
  }

  void read_transparency() {
    png_bytep alpha = nullptr;
    int entries = 0;
    png_color_16p key = nullptr;
    const bool has_key = png_get_tRNS(png_, info_, &alpha, &entries, &key) != 0;
    if (color_ == PNG_COLOR_TYPE_PALETTE) {
      png_colorp palette = nullptr;
      int colors = 0;
      png_get_PLTE(png_, info_, &palette, &colors);
      palette_.fill({0, 0, 0, 255});
      for (int i = 0; i < colors && i < 256; ++i) {
        palette_[static_cast<size_t>(i)] = {palette[i].red, palette[i].green, palette[i].blue, 255};
      }
      for (int i = 0; has_key && alpha != nullptr && i < entries && i < 256; ++i) {
        palette_[static_cast<size_t>(i)][3] = alpha[i];
      }
    } else if (has_key && key != nullptr && source_.options.alpha == AlphaRule::kWhite) {
      // One colour is transparent. Pillow compares the low byte of what the file says with its 8-bit samples:
      // a grey of 2 or 4 bits is not scaled, 16 bits are not narrowed.
      has_key_ = true;
      if (color_ == PNG_COLOR_TYPE_GRAY) {
        const int grey = depth_ == 1 ? (key->gray != 0 ? 255 : 0) : key->gray & 255;
        key_ = {grey, grey, grey};
      } else {
        key_ = {key->red & 255, key->green & 255, key->blue & 255};
      }
    }
  }

  void convert(const uint8_t* row, int64_t width, uint8_t* out) const {
    const AlphaRule alpha = source_.options.alpha;
    switch (color_) {
      case PNG_COLOR_TYPE_PALETTE:
        for (int64_t x = 0; x < width; ++x) {
          to_rgb(palette_[row[x]].data(), PixelKind::kRgba, alpha, 1, out + 3 * x);
        }
        break;
      case PNG_COLOR_TYPE_GRAY_ALPHA:
        to_rgb(row, PixelKind::kGrayAlpha, alpha, width, out);
        break;
      case PNG_COLOR_TYPE_RGB_ALPHA:
        to_rgb(row, PixelKind::kRgba, alpha, width, out);
        break;
      case PNG_COLOR_TYPE_RGB:
        to_rgb(row, PixelKind::kRgb, alpha, width, out);
        break;
      default:
        convert_gray(row, width, out);
    }
    if (!has_key_) return;
    for (int64_t x = 0; x < width; ++x) {
      uint8_t* pixel = out + 3 * x;
      if (pixel[0] == key_[0] && pixel[1] == key_[1] && pixel[2] == key_[2]) std::fill_n(pixel, 3, 255);
    }
  }

  void convert_gray(const uint8_t* row, int64_t width, uint8_t* out) const {
    const int scale = depth_ >= 8 ? 1 : 255 / ((1 << depth_) - 1);
    for (int64_t x = 0; x < width; ++x) {
      // 16 bits are clipped at 255, not scaled: nearly everything becomes white, as in Pillow.
      const int grey = depth_ == 16 ? (row[2 * x] != 0 ? 255 : row[2 * x + 1]) : row[x] * scale;
      std::fill_n(out + 3 * x, 3, static_cast<uint8_t>(grey));
    }
  }

  int orientation() {
    std::span<const uint8_t> exif;
#ifdef PNG_eXIf_SUPPORTED
    png_bytep block = nullptr;
    png_uint_32 length = 0;
    if (png_get_eXIf_1(png_, info_, &length, &block) != 0 && block != nullptr) exif = {block, length};
#endif
    std::string_view xmp;
    png_textp texts = nullptr;
    int count = 0;
    png_get_text(png_, info_, &texts, &count);
    for (int i = 0; i < count; ++i) {
      if (std::string_view(texts[i].key) != "XML:com.adobe.xmp" || texts[i].text == nullptr) continue;
      xmp = std::string_view(texts[i].text);
    }
    return combined_orientation(exif, xmp);
  }

  const Source& source_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  size_t offset_ = 0;
  bool early_end_ = false;
  char message_[256] = "";
  int color_ = 0;
  int depth_ = 0;
  std::array<std::array<uint8_t, 4>, 256> palette_{};
  bool has_key_ = false;
  std::array<int, 3> key_{};
  std::vector<uint8_t> rows_;
};

}  // namespace

DecodedImage decode_png(const Source& source) { return PngReader(source).read(); }

}  // namespace ropescope::decoders
