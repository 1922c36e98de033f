// Pixels to JPEG and PNG, read back by the decoders.
#include "ropescope/vision/encode.h"

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/image.h"

namespace ropescope {
namespace {

/// A smooth picture, 40 rows of 64.
at::Tensor gradient() {
  const at::Tensor row = at::arange(64, at::kFloat).mul(4).view({1, 64}).expand({40, 64}),
                   column = at::arange(40, at::kFloat).mul(6).view({40, 1}).expand({40, 64});
  return at::stack({row, column, row.add(column).div(2)}, 2).to(at::kByte);
}

DecodedImage decoded(const std::string& bytes) {
  return decode_image(std::as_bytes(std::span(bytes)), "encoded");
}

TEST(Encode, PngIsExact) {
  const DecodedImage image = decoded(encode_png(gradient()));
  EXPECT_EQ(image.format, "PNG");
  EXPECT_TRUE(at::equal(image.rgb_HW3, gradient()));
}

TEST(Encode, JpegIsClose) {
  const DecodedImage image = decoded(encode_jpeg(gradient(), 90));
  EXPECT_EQ(image.format, "JPEG");
  ASSERT_EQ(image.rgb_HW3.sizes(), gradient().sizes());
  EXPECT_LT(image.rgb_HW3.to(at::kFloat).sub(gradient()).abs().mean().item<double>(), 3.0);
  EXPECT_LT(encode_jpeg(gradient(), 30).size(), encode_jpeg(gradient(), 95).size());
}

TEST(Encode, TheShorterIsTaken) {
  std::string type;
  const at::Tensor plain = at::full({50, 50, 3}, 7, at::kByte);
  EXPECT_EQ(decoded(encode_shorter(plain, 80, type)).format, "PNG");
  EXPECT_EQ(type, "image/png");
  const at::Tensor waves = at::arange(120 * 120 * 3, at::kDouble).mul(12.9898).sin().mul(43758.5453);
  const at::Tensor noise = waves.sub(waves.floor()).mul(256).floor().to(at::kByte).view({120, 120, 3});
  EXPECT_EQ(decoded(encode_shorter(noise, 50, type)).format, "JPEG");
  EXPECT_EQ(type, "image/jpeg");
}

TEST(Encode, RefusesOtherTensors) {
  EXPECT_THROW(encode_png(at::zeros({4, 4}, at::kByte)), InternalError);
  EXPECT_THROW(encode_jpeg(at::zeros({4, 4, 3}, at::kFloat), 80), InternalError);
  EXPECT_THROW(encode_png(at::zeros({0, 4, 3}, at::kByte)), InternalError);
}

}  // namespace
}  // namespace ropescope
