// Antialiased resizing of 8-bit RGB images, equal to Pillow's bit for bit.
// Two passes; one that changes nothing is left out. First along rows, then along columns; the other way round
// where the height shrinks by more than twice as many pixels as the width. (Found for Pillow 13.0 by
// comparing it with both orders on thousands of random sizes; earlier versions began with the rows. It
// matters for tall images, by a level or two.) Output o of n from m inputs: scale s = m/n, f = max(s, 1),
// centre c = (o + 1/2) s, taps
//   k in [int(c - r f + 1/2), int(c + r f + 1/2)) cut to [0, m),   weight_k = filter((k - c + 1/2) / f)
// divided by their sum and rounded to 22 fractional bits. Each pass rounds and clamps to 0..255, so the
// overshoot of the first is cut off before the second sees it.
// filter: bicubic with a = -1/2, r = 2 (Keys, 1981); bilinear 1 - |x|, r = 1; Lanczos sinc(x) sinc(x / 3), r = 3.
#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

namespace ropescope {

enum class ResampleFilter { kBilinear, kBicubic, kLanczos };

/// A rectangle of the resized image, pixels.
struct PixelWindow {
  int64_t left = 0, top = 0, width = 0, height = 0;
};

/// `image_HW3`: uint8 [H, W, 3], CPU. Returns uint8 [height, width, 3], or with `window` only that part of
/// it, at the cost of that part: a shortest-edge resize of a 1 x 20000 strip has two million rows, of which a
/// centre crop keeps 336. Throws InternalError if the window does not lie inside.
at::Tensor resize_image(const at::Tensor& image_HW3, int64_t width, int64_t height,
                        ResampleFilter filter = ResampleFilter::kBicubic,
                        const std::optional<PixelWindow>& window = std::nullopt);

}  // namespace ropescope
