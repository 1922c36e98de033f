#include "ropescope/vision/encode.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <jpeglib.h>
#include <png.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

at::Tensor checked(const at::Tensor& rgb_HW3) {
  if (rgb_HW3.dim() != 3 || rgb_HW3.size(2) != 3 || rgb_HW3.scalar_type() != at::kByte ||
      rgb_HW3.numel() == 0) {
    throw InternalError("encode: expected uint8 pixels [height, width, 3]");
  }
  return rgb_HW3.contiguous();
}

/// libjpeg reports an error by a call that must not return: it jumps back to `escape`.
struct WriteErrorManager {
  jpeg_error_mgr base;  // first, so that libjpeg's pointer to it is a pointer to this
  jmp_buf escape;
};

[[noreturn]] void leave_writer(j_common_ptr info) {
  longjmp(reinterpret_cast<WriteErrorManager*>(info->err)->escape, 1);
}

class JpegWriter {
 public:
  JpegWriter() {
    std::memset(&info_, 0, sizeof info_);
    info_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = leave_writer;
  }
  ~JpegWriter() {
    jpeg_destroy_compress(&info_);
    std::free(buffer_);
  }
  JpegWriter(const JpegWriter&) = delete;
  JpegWriter& operator=(const JpegWriter&) = delete;

  // Nothing that has a destructor may live in a function that an error leaves by a jump.
  bool write(const uint8_t* rgb, int64_t width, int64_t height, int quality) {
    if (setjmp(errors_.escape) != 0) return false;
    jpeg_create_compress(&info_);
    jpeg_mem_dest(&info_, &buffer_, &size_);
    info_.image_width = static_cast<JDIMENSION>(width);
    info_.image_height = static_cast<JDIMENSION>(height);
    info_.input_components = 3;
    info_.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info_);
    jpeg_set_quality(&info_, quality, TRUE);
    info_.optimize_coding = TRUE;
    jpeg_start_compress(&info_, TRUE);
    while (info_.next_scanline < info_.image_height) {
      JSAMPROW row = const_cast<JSAMPROW>(rgb + static_cast<int64_t>(info_.next_scanline) * 3 * width);
      jpeg_write_scanlines(&info_, &row, 1);
    }
    jpeg_finish_compress(&info_);
    return true;
  }
  std::string bytes() const { return {reinterpret_cast<const char*>(buffer_), size_}; }

 private:
  jpeg_compress_struct info_;
  WriteErrorManager errors_;
  unsigned char* buffer_ = nullptr;
  unsigned long size_ = 0;
};

}  // namespace

std::string encode_jpeg(const at::Tensor& rgb_HW3, int quality) {
  const at::Tensor pixels = checked(rgb_HW3);
  JpegWriter writer;
  if (!writer.write(pixels.const_data_ptr<uint8_t>(), pixels.size(1), pixels.size(0), quality)) {
    throw EnvironmentError("JPEG: {} x {} pixels could not be written", pixels.size(1), pixels.size(0));
  }
  return writer.bytes();
}

std::string encode_png(const at::Tensor& rgb_HW3) {
  const at::Tensor pixels = checked(rgb_HW3);
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(pixels.size(1));
  image.height = static_cast<png_uint_32>(pixels.size(0));
  image.format = PNG_FORMAT_RGB;
  const auto* data = pixels.const_data_ptr<uint8_t>();
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(image), '\0');
  png_alloc_size_t size = bytes.size();
  if (png_image_write_to_memory(&image, bytes.data(), &size, 0, data, 0, nullptr) == 0) {
    throw EnvironmentError("PNG: {} x {} pixels could not be written ({})", pixels.size(1), pixels.size(0),
                           image.message);
  }
  bytes.resize(size);
  return bytes;
}

std::string encode_shorter(const at::Tensor& rgb_HW3, int quality, std::string& media_type) {
  std::string jpeg = encode_jpeg(rgb_HW3, quality), png = encode_png(rgb_HW3);
  const bool exact = png.size() <= jpeg.size();
  media_type = exact ? "image/png" : "image/jpeg";
  return exact ? png : jpeg;
}

}  // namespace ropescope
