// Pieces that several tilings are made of.
#include <algorithm>
#include <cmath>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/parallel.h"
#include "ropescope/vision/tilings/tiling.h"

namespace ropescope::tiling_parts {

namespace {

/// [H, W, 3] -> [3, H, W] at `out`; rows lie `stride` bytes apart.
void write_planes(const uint8_t* in, int64_t height, int64_t width, int64_t stride, uint8_t* out) {
  const int64_t plane = height * width;
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < 3; ++c) out[c * plane + y * width + x] = in[y * stride + 3 * x + c];
    }
  }
}

}  // namespace

void check_setting(const MediaSettings& settings, const char* name, int64_t value, int64_t lowest,
                   int64_t highest) {
  if (value < lowest || value > highest) {
    throw InputError("{}: {}: expected {}..{}, found {}", settings.source, name, lowest, highest, value);
  }
}

at::Tensor planes(const at::Tensor& image_HW3) {
  const at::Tensor image = image_HW3.contiguous();
  const int64_t height = image.size(0), width = image.size(1);
  const at::Tensor result = at::empty({1, 3, height, width}, at::kByte);
  write_planes(image.const_data_ptr<uint8_t>(), height, width, 3 * width, result.mutable_data_ptr<uint8_t>());
  return result;
}

at::Tensor squeezed(const at::Tensor& image_HW3, int64_t side, ResampleFilter filter) {
  return planes(resize_image(image_HW3, side, side, filter));
}

at::Tensor cut_square_tiles(const at::Tensor& image_HW3, int64_t tile) {
  const at::Tensor image = image_HW3.contiguous();
  const int64_t rows = image.size(0) / tile, columns = image.size(1) / tile, stride = 3 * image.size(1);
  const at::Tensor result = at::empty({rows * columns, 3, tile, tile}, at::kByte);
  const uint8_t* in = image.const_data_ptr<uint8_t>();
  uint8_t* out = result.mutable_data_ptr<uint8_t>();
  parallel_for_each(rows * columns, [&](int64_t i) {
    const int64_t row = i / columns, column = i % columns;
    write_planes(in + row * tile * stride + 3 * column * tile, tile, tile, stride, out + i * 3 * tile * tile);
  });
  return result;
}

at::Tensor padded_to_square(const at::Tensor& image_HW3, const std::array<double, 3>& mean) {
  const int64_t height = image_HW3.size(0), width = image_HW3.size(1);
  if (height == width) return image_HW3;
  const int64_t side = std::max(height, width);
  at::Tensor square = at::empty({side, side, 3}, at::kByte);
  for (int64_t c = 0; c < 3; ++c) {
    const double level = std::trunc(255.0 * mean[static_cast<size_t>(c)]);
    square.select(2, c).fill_(static_cast<int64_t>(std::clamp(level, 0.0, 255.0)));
  }
  const int64_t top = (side - height) / 2, left = (side - width) / 2;
  square.slice(0, top, top + height).slice(1, left, left + width).copy_(image_HW3);
  return square;
}

CellMap whole_cells(const std::array<int64_t, 2>& size_wh, int64_t rows, int64_t columns) {
  return {0.0, 0.0, static_cast<double>(size_wh[0]) / static_cast<double>(columns),
          static_cast<double>(size_wh[1]) / static_cast<double>(rows)};
}

MediaRun grid_run(MediaRun::Role role, int64_t rows, int64_t columns) {
  MediaRun run;
  run.role = role;
  run.h = rows;
  run.w = columns;
  run.tokens = rows * columns;
  return run;
}

int64_t square_size(const Json& files, const char* key, const std::string& what) {
  const Json* size = json_find(files, key);
  if (size == nullptr) return 0;
  const bool is_number = size->is_number_integer();
  const int64_t height = is_number ? json_integer(files, key, what) : json_integer(*size, "height", what);
  const int64_t width = is_number ? height : json_integer(*size, "width", what);
  if (height != width || height < 1) {
    throw InputError("{}: \"{}\": expected a square, found {}x{}", what, key, width, height);
  }
  return height;
}

int64_t edge_of(const Json& files, const char* key, const char* edge, const std::string& what) {
  const Json* size = json_find(files, key);
  if (size == nullptr) return 0;
  const int64_t length =
      size->is_number_integer() ? json_integer(files, key, what) : json_integer(*size, edge, what);
  if (length < 1) throw InputError("{}: \"{}\": expected a length in pixels, found {}", what, key, length);
  return length;
}

std::string token_text(const ProcessorFiles& files, const char* key, const std::string& fallback) {
  const Json* token = json_find(files.tokenizer, key);
  if (token == nullptr) return fallback;
  const std::string text = token->is_object() ? json_string(*token, "content", files.what)
                                              : json_string(files.tokenizer, key, files.what);
  if (text.empty())
    throw InputError("{}: \"{}\": expected a token's text, found an empty one", files.what, key);
  return text;
}

int64_t side_or(const Json& object, const char* key, int64_t fallback, const std::string& what) {
  const Json* value = json_find(object, key);
  if (value == nullptr || !value->is_array()) return json_integer_or(object, key, fallback, what);
  if (value->size() != 2 || !(*value)[0].is_number_integer() || (*value)[0] != (*value)[1]) {
    throw InputError("{}: \"{}\": expected a number or two equal ones", what, key);
  }
  return (*value)[0].get<int64_t>();
}

}  // namespace ropescope::tiling_parts
