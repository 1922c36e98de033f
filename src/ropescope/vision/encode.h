// RGB pixels to image files, in memory.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// `rgb_HW3`: uint8 [H, W, 3], CPU. The bytes of a baseline JPEG (chroma at half resolution); `quality` 1-100
/// as libjpeg counts it. Throws InternalError for another tensor, EnvironmentError if libjpeg fails.
std::string encode_jpeg(const at::Tensor& rgb_HW3, int quality);

/// The same as PNG, 8 bits a channel.
std::string encode_png(const at::Tensor& rgb_HW3);

/// The shorter of the two: pictures of few colours are smaller, and stay exact, as PNG. `media_type` becomes
/// "image/jpeg" or "image/png".
std::string encode_shorter(const at::Tensor& rgb_HW3, int quality, std::string& media_type);

}  // namespace ropescope
