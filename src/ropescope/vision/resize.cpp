#include "ropescope/vision/resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <vector>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/parallel.h"

namespace ropescope {

namespace {

constexpr int64_t kChannels = 3;
/// 8 bits of the pixel, 2 for sums beyond 1, 22 for the weight's fraction.
constexpr int kFractionBits = 22;
constexpr int32_t kHalf = 1 << (kFractionBits - 1);

double filter_radius(ResampleFilter filter) {
  if (filter == ResampleFilter::kLanczos) return 3.0;
  return filter == ResampleFilter::kBicubic ? 2.0 : 1.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  const double angle = x * std::numbers::pi;
  return std::sin(angle) / angle;
}

double filter_value(ResampleFilter filter, double x) {
  if (filter == ResampleFilter::kLanczos) return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
  x = std::abs(x);
  if (filter == ResampleFilter::kBilinear) return x < 1.0 ? 1.0 - x : 0.0;
  constexpr double a = -0.5;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

/// Input positions and integer weights of the outputs [first, first + count).
struct Taps {
  std::vector<int64_t> begin;   ///< [count], first input
  std::vector<int64_t> length;  ///< [count]
  std::vector<int32_t> weight;  ///< [count, stride]
  int64_t stride = 0;

  const int32_t* weights_of(int64_t i) const { return weight.data() + i * stride; }
};

Taps make_taps(int64_t inputs, int64_t outputs, int64_t first, int64_t count, ResampleFilter filter) {
  const double scale = static_cast<double>(inputs) / static_cast<double>(outputs);
  const double stretch = std::max(scale, 1.0);
  const double radius = filter_radius(filter) * stretch;
  Taps taps;
  taps.stride = std::min(inputs, static_cast<int64_t>(std::ceil(radius)) * 2 + 1);
  taps.begin.resize(static_cast<size_t>(count));
  taps.length.resize(static_cast<size_t>(count));
  taps.weight.assign(static_cast<size_t>(count * taps.stride), 0);
  std::vector<double> exact;
  for (int64_t i = 0; i < count; ++i) {
    const double center = (static_cast<double>(first + i) + 0.5) * scale;
    // Cut off, not rounded: negative numbers go up, as in Pillow.
    // NOLINTBEGIN(bugprone-incorrect-roundings)
    const int64_t begin = std::max<int64_t>(static_cast<int64_t>(center - radius + 0.5), 0);
    const int64_t end = std::min(static_cast<int64_t>(center + radius + 0.5), inputs);
    // NOLINTEND(bugprone-incorrect-roundings)
    exact.clear();
    double sum = 0.0;
    for (int64_t k = begin; k < end; ++k) {
      exact.push_back(filter_value(filter, (static_cast<double>(k) - center + 0.5) * (1.0 / stretch)));
      sum += exact.back();
    }
    taps.begin[static_cast<size_t>(i)] = begin;
    taps.length[static_cast<size_t>(i)] = end - begin;
    int32_t* weights = taps.weight.data() + i * taps.stride;
    for (size_t k = 0; k < exact.size(); ++k) {
      const double share = sum != 0.0 ? exact[k] / sum : exact[k];
      weights[k] = static_cast<int32_t>(std::lround(share * (1 << kFractionBits)));
    }
  }
  return taps;
}

uint8_t to_pixel(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255)); }

/// One row of the pass along rows; `in` starts at input `first`.
void resize_row(const uint8_t* in, const Taps& taps, int64_t first, int64_t count, uint8_t* out) {
  for (int64_t x = 0; x < count; ++x) {
    const int32_t* weight = taps.weights_of(x);
    const uint8_t* pixel = in + (taps.begin[static_cast<size_t>(x)] - first) * kChannels;
    const int64_t length = taps.length[static_cast<size_t>(x)];
    int32_t red = kHalf, green = kHalf, blue = kHalf;
    for (int64_t k = 0; k < length; ++k, pixel += kChannels) {
      red += pixel[0] * weight[k];
      green += pixel[1] * weight[k];
      blue += pixel[2] * weight[k];
    }
    out[x * kChannels] = to_pixel(red);
    out[x * kChannels + 1] = to_pixel(green);
    out[x * kChannels + 2] = to_pixel(blue);
  }
}

/// One row of the pass along columns: a weighted sum of whole rows, in pieces that stay in the first cache.
void mix_rows(const uint8_t* in, int64_t row_bytes, const int32_t* weight, int64_t length, uint8_t* out) {
  constexpr int64_t kPiece = 1024;
  int32_t sums[kPiece];
  for (int64_t from = 0; from < row_bytes; from += kPiece) {
    const int64_t piece = std::min(kPiece, row_bytes - from);
    std::fill_n(sums, piece, kHalf);
    for (int64_t k = 0; k < length; ++k) {
      const uint8_t* row = in + k * row_bytes + from;
      const int32_t w = weight[k];
      for (int64_t j = 0; j < piece; ++j) sums[j] += row[j] * w;
    }
    for (int64_t j = 0; j < piece; ++j) out[from + j] = to_pixel(sums[j]);
  }
}

/// One direction of a resize: how it is done, and which inputs it needs.
struct Axis {
  std::optional<Taps> taps;  ///< none: the size stays
  int64_t count = 0;         ///< outputs
  int64_t first = 0, end = 0;
};

Axis make_axis(int64_t inputs, int64_t outputs, int64_t first, int64_t count, ResampleFilter filter) {
  if (inputs == outputs) return {std::nullopt, count, first, first + count};
  Axis axis{make_taps(inputs, outputs, first, count, filter), count, inputs, 0};
  const Taps& taps = *axis.taps;
  for (size_t i = 0; i < taps.begin.size(); ++i) {
    axis.first = std::min(axis.first, taps.begin[i]);
    axis.end = std::max(axis.end, taps.begin[i] + taps.length[i]);
  }
  return axis;
}

/// `image` holds the columns [axis.first, axis.end).
at::Tensor resize_columns(const at::Tensor& image, const Axis& axis) {
  if (!axis.taps) return image;
  const int64_t height = image.size(0), in_bytes = image.size(1) * kChannels;
  const at::Tensor contiguous = image.contiguous();
  at::Tensor result = at::empty({height, axis.count, kChannels}, at::kByte);
  const uint8_t* in = contiguous.const_data_ptr<uint8_t>();
  uint8_t* out = result.mutable_data_ptr<uint8_t>();
  parallel_for_each(height, [&](int64_t y) {
    resize_row(in + y * in_bytes, *axis.taps, axis.first, axis.count, out + y * axis.count * kChannels);
  });
  return result;
}

/// `image` holds the rows [axis.first, axis.end).
at::Tensor resize_rows(const at::Tensor& image, const Axis& axis) {
  if (!axis.taps) return image;
  const int64_t width = image.size(1), row_bytes = width * kChannels;
  const at::Tensor contiguous = image.contiguous();
  at::Tensor result = at::empty({axis.count, width, kChannels}, at::kByte);
  const uint8_t* in = contiguous.const_data_ptr<uint8_t>();
  uint8_t* out = result.mutable_data_ptr<uint8_t>();
  const Taps& taps = *axis.taps;
  parallel_for_each(axis.count, [&](int64_t y) {
    const auto i = static_cast<size_t>(y);
    mix_rows(in + (taps.begin[i] - axis.first) * row_bytes, row_bytes, taps.weights_of(y), taps.length[i],
             out + y * row_bytes);
  });
  return result;
}

}  // namespace

at::Tensor resize_image(const at::Tensor& image_HW3, int64_t width, int64_t height, ResampleFilter filter,
                        const std::optional<PixelWindow>& window) {
  const PixelWindow part = window.value_or(PixelWindow{0, 0, width, height});
  if (image_HW3.dim() != 3 || image_HW3.size(2) != kChannels || image_HW3.scalar_type() != at::kByte ||
      image_HW3.numel() == 0 || part.left < 0 || part.top < 0 || part.width < 1 || part.height < 1 ||
      part.left + part.width > width || part.top + part.height > height) {
    throw InternalError("resize_image: window {}x{} at {},{} of {}x{} from a tensor of {} elements",
                        part.width, part.height, part.left, part.top, width, height, image_HW3.numel());
  }
  const int64_t in_height = image_HW3.size(0), in_width = image_HW3.size(1);
  const Axis columns = make_axis(in_width, width, part.left, part.width, filter);
  const Axis rows = make_axis(in_height, height, part.top, part.height, filter);
  const at::Tensor needed = image_HW3.slice(0, rows.first, rows.end).slice(1, columns.first, columns.end);
  const bool rows_first = in_height > height && 2 * (in_width - width) < in_height - height;
  const at::Tensor result = rows_first ? resize_columns(resize_rows(needed, rows), columns)
                                       : resize_rows(resize_columns(needed, columns), rows);
  return result.contiguous();
}

}  // namespace ropescope
