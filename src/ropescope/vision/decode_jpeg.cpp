// JPEG by libjpeg-turbo.
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

#include <jerror.h>
#include <jpeglib.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/decoders.h"

namespace ropescope::decoders {

namespace {

/// libjpeg reports an error by a call that must not return: it jumps back to `escape`.
struct ErrorManager {
  jpeg_error_mgr base;  // first, so that libjpeg's pointer to it is a pointer to this
  jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void leave(j_common_ptr info) {
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  manager->base.format_message(info, manager->message);
  longjmp(manager->escape, 1);
}

void on_message(j_common_ptr info, int level) {
  // libjpeg makes up the rest of a file that ends early, in grey; damaged data inside it is passed over, as
  // Pillow does.
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) leave(info);
}

void on_output(j_common_ptr) {}

void on_progress(j_common_ptr info) {
  // A progressive file of a few kilobytes may ask for thousands of passes over a large image.
  constexpr int kMostScans = 500;
  if (info->is_decompressor && reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMostScans) {
    auto* manager = reinterpret_cast<ErrorManager*>(info->err);
    std::strncpy(manager->message, "more than 500 scans", sizeof manager->message);
    longjmp(manager->escape, 1);
  }
}

class JpegReader {
 public:
  explicit JpegReader(const Source& source) : source_(source) {
    std::memset(&info_, 0, sizeof info_);
    info_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = leave;
    errors_.base.emit_message = on_message;
    errors_.base.output_message = on_output;
    progress_.progress_monitor = on_progress;
  }
  ~JpegReader() { jpeg_destroy_decompress(&info_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  DecodedImage read() {
    if (!open()) fail();
    if (info_.data_precision != 8) {
      throw InputError("{}: expected a JPEG of 8 bits, found {}", source_.what, info_.data_precision);
    }
    const int components = info_.num_components;
    if (components != 1 && components != 3 && components != 4) {
      throw InputError("{}: expected a JPEG of 1, 3 or 4 components, found {}", source_.what, components);
    }
    const int64_t width = info_.image_width, height = info_.image_height;
    DecodedImage image;
    image.format = "JPEG";
    image.orientation = orientation();
    image.rgb_HW3 = new_pixels(width, height, source_);
    row_.resize(static_cast<size_t>(width * components));
    if (!start()) fail();
    const PixelKind kind = components == 1   ? PixelKind::kGray
                           : components == 3 ? PixelKind::kRgb
                                             : PixelKind::kCmyk;
    uint8_t* out = image.rgb_HW3.mutable_data_ptr<uint8_t>();
    for (int64_t y = 0; y < height; ++y, out += 3 * width) {
      if (!next_row()) fail();
      if (kind == PixelKind::kCmyk) {  // stored inverted, as Adobe's programs do
        for (uint8_t& sample : row_) sample = static_cast<uint8_t>(255 - sample);
      }
      to_rgb(row_.data(), kind, source_.options.alpha, width, out);
    }
    if (!finish()) fail();
    return image;
  }

 private:
  // Nothing that has a destructor may live in the functions that an error leaves by a jump.
  bool open() {
    if (setjmp(errors_.escape) != 0) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, source_.data(), source_.bytes.size());
    jpeg_save_markers(&info_, JPEG_APP0 + 1, 0xFFFF);
    return jpeg_read_header(&info_, TRUE) == JPEG_HEADER_OK;
  }
  bool start() {
    if (setjmp(errors_.escape) != 0) return false;
    info_.out_color_space = info_.num_components == 1   ? JCS_GRAYSCALE
                            : info_.num_components == 3 ? JCS_RGB
                                                        : JCS_CMYK;
    info_.dct_method = JDCT_ISLOW;
    info_.do_fancy_upsampling = TRUE;
    return jpeg_start_decompress(&info_) == TRUE;
  }
  bool next_row() {
    if (setjmp(errors_.escape) != 0) return false;
    JSAMPROW row = row_.data();
    return jpeg_read_scanlines(&info_, &row, 1) == 1;
  }
  bool finish() {
    if (setjmp(errors_.escape) != 0) return false;
    return jpeg_finish_decompress(&info_) == TRUE;
  }

  [[noreturn]] void fail() const {
    if (errors_.base.msg_code == JWRN_JPEG_EOF) {
      throw InputError("{}: expected a whole JPEG image, found a file that ends early ({} bytes)",
                       source_.what, source_.bytes.size());
    }
    throw InputError("{}: damaged JPEG image: {}", source_.what, errors_.message);
  }

  int orientation() const {
    constexpr std::string_view kExif("Exif\0\0", 6);
    constexpr std::string_view kXmp("http://ns.adobe.com/xap/1.0/\0", 29);
    std::vector<uint8_t> exif;
    std::string_view xmp;
    for (const jpeg_marker_struct* marker = info_.marker_list; marker != nullptr; marker = marker->next) {
      const std::string_view text(reinterpret_cast<const char*>(marker->data), marker->data_length);
      if (text.substr(0, kExif.size()) == kExif) {
        // A long block is spread over several markers.
        const auto rest = exif.empty() ? text : text.substr(kExif.size());
        exif.insert(exif.end(), rest.begin(), rest.end());
      } else if (text.substr(0, kXmp.size()) == kXmp) {
        xmp = text.substr(kXmp.size());
      }
    }
    return combined_orientation(exif, xmp);
  }

  const Source& source_;
  jpeg_decompress_struct info_;
  ErrorManager errors_{};
  jpeg_progress_mgr progress_{};
  std::vector<uint8_t> row_;
};

}  // namespace

DecodedImage decode_jpeg(const Source& source) { return JpegReader(source).read(); }

}  // namespace ropescope::decoders
