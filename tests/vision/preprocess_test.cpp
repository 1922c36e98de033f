// Tiles and pixel values against the reference image processors, bit for bit.
#include "ropescope/vision/preprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/std.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/image.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"
#include "tests/vision/digest.h"

namespace ropescope {
namespace {

using testing::digest;
using ::testing::HasSubstr;

std::vector<std::string> digests(const at::Tensor& tiles) {
  std::vector<std::string> all;
  for (int64_t i = 0; i < tiles.size(0); ++i) all.push_back(digest(tiles.select(0, i)));
  return all;
}

TEST(Preprocess, GoldenTilesAndStatistics) {
  const Json golden = testing::golden_json("vision/preprocess/preprocess.json");
  const std::vector<std::pair<std::string, std::string>> processors = {
      {"clip", "clip"},
      {"siglip", "siglip"},
      {"llava-next-clip", "llava_next_clip"},
      {"llava-next-siglip", "llava_next_siglip"}};
  for (const auto& [preset, key] : processors) {
    const PreprocessSettings settings = preset_settings(preset);
    for (const Json& image : golden["images"]) {
      const std::string file = image["file"];
      const Json& expected = image["outputs"][key];
      const auto path = testing::golden_path("vision/preprocess/synthetic/" + file);
      const PreprocessedImage found = preprocess_image(read_image(path).rgb_HW3, settings);
      EXPECT_EQ(Json(found.tiles.sizes().vec()), expected["shape"]) << preset << " " << file;
      EXPECT_EQ(Json(digests(found.tiles)), expected["tile_sha256_pil"]) << preset << " " << file;
      for (int64_t i = 0; i < found.tiles.size(0); ++i) {
        for (int64_t c = 0; c < 3; ++c) {
          const at::Tensor plane = found.pixel_values[i][c].to(at::kDouble);
          const Json& stats = expected["stats_pil"][static_cast<size_t>(i)];
          const auto channel = static_cast<size_t>(c);
          // Printed with nine digits; the values themselves are good to 4e-7.
          EXPECT_NEAR(plane.mean().item<double>(), stats["mean"][channel].get<double>(), 1e-6);
          EXPECT_NEAR(at::std(plane, false).item<double>(), stats["std"][channel].get<double>(), 1e-6);
          EXPECT_NEAR(plane.min().item<double>(), stats["min"][channel].get<double>(), 5e-7);
          EXPECT_NEAR(plane.max().item<double>(), stats["max"][channel].get<double>(), 5e-7);
        }
      }
    }
  }
}

TEST(Preprocess, TheOriginalCodesTiles) {
  const Json golden = testing::golden_json("vision/preprocess/preprocess.json");
  for (const char* family : {"clip", "siglip"}) {
    PreprocessSettings settings = preset_settings(std::string("llava-next-") + family);
    settings.anyres->rule = PinpointRule::kOriginal;
    for (const Json& image : golden["images"]) {
      const std::string file = image["file"];
      const Json& expected = image["original_anyres"][family]["tile_sha256"];
      if (!expected.is_array()) continue;
      const auto path = testing::golden_path("vision/preprocess/synthetic/" + file);
      std::vector<std::string> found =
          digests(preprocess_image(read_image(path, {AlphaRule::kDrop}).rgb_HW3, settings).tiles);
      // A palette with one transparent colour: the golden thumbnail had the pixels of exactly that colour
      // painted white by the newer image processor behind the original code; the tiles had not.
      if (file == "palette_trns_45x30.png") found[0] = expected[0];
      EXPECT_EQ(Json(found), expected) << family << " " << file;
    }
  }
}

TEST(Preprocess, BothOrdersOfThePasses) {
  struct Case {
    int64_t width, height, new_width, new_height;
    const char* sha256;  ///< of what Pillow 13.0 makes of it
  };
  for (const Case& c : std::vector<Case>{
           {5, 200, 64, 64, "9c2dabebcff3d4709d4337dcd2f589abb40548ba9da58aeb1073133fd29822e6"},
           {40, 200, 38, 60, "8ed167eb5a65534990d3f8c050221d0b4e53ff04204867a17e0de9f21c966c09"},
           {88, 64, 64, 16, "8c313dc8f79f20601d1692c756cafddcfa925ff3bb77608dec902ac8582a2515"},
           {87, 64, 64, 16, "0afe81c89dfc245115daf6875aacdd09157e262aa640274da0bdd2d22dd08cd0"},
           {200, 40, 60, 30, "0386b048e50a3a4f86f85f6fd57737ae94b4ec623333cb006f9418026cc6790b"},
           {30, 90, 30, 40, "85c8db828e442dc12241f1014ff24c5539618ba4a632e238c25faabadce54fa2"},
           {31, 90, 50, 90, "ec50d22e2f93664c03694eb62d178ab77c2da103a93f5541440ec8bf4225925f"},
           {7, 9, 100, 120, "4a2d076a27572e1e76d8ab21addebbd866b7d25a89c2c3c089007f5706506c4d"},
       }) {
    const at::Tensor image = at::empty({c.height, c.width, 3}, at::kByte);
    for (int64_t i = 0; i < image.numel(); ++i) {
      image.mutable_data_ptr<uint8_t>()[i] = static_cast<uint8_t>((i * i * 7 + i * 31) / 5 % 256);
    }
    EXPECT_EQ(digest(resize_image(image, c.new_width, c.new_height)), c.sha256) << c.width << "x" << c.height;
  }
}

TEST(Preprocess, AWindowIsThatPartOfTheWhole) {
  const at::Tensor image = at::randint(0, 256, {61, 43, 3}, at::kByte);
  for (const auto& [w, h] :
       std::vector<std::array<int64_t, 2>>{{100, 90}, {20, 31}, {43, 70}, {17, 61}, {40, 25}}) {
    const at::Tensor whole = resize_image(image, w, h);
    const PixelWindow window{3, 5, 11, 17};
    const at::Tensor part = resize_image(image, w, h, ResampleFilter::kBicubic, window);
    EXPECT_TRUE(part.equal(whole.slice(0, 5, 22).slice(1, 3, 14))) << w << "x" << h;
  }
  EXPECT_TRUE(resize_image(image, 43, 61).equal(image));
}

TEST(Preprocess, AStripOf20000PixelsIsCheap) {
  const at::Tensor strip = at::randint(0, 256, {20000, 1, 3}, at::kByte);
  for (const char* preset : {"clip", "siglip", "llava-next-clip", "llava-next-siglip"}) {
    for (const at::Tensor& image : {strip, strip.transpose(0, 1).contiguous()}) {
      const PreprocessedImage found = preprocess_image(image, preset_settings(preset));
      EXPECT_EQ(found.pixel_values.sizes(), found.tiles.sizes());
    }
  }
}

Json siglip_next() {
  return Json::parse(R"({"model_type":"llava_next","image_grid_pinpoints":[[48,96],[96,48]],
    "vision_config":{"model_type":"siglip_vision_model","image_size":48,"patch_size":9}})");
}

TEST(PreprocessSettings, FromAModelsConfig) {
  const PreprocessSettings next =
      parse_preprocess_settings(siglip_next(), nullptr, nullptr, std::nullopt, "m");
  ASSERT_TRUE(next.anyres);
  EXPECT_EQ(next.anyres->rule, PinpointRule::kHf);
  EXPECT_EQ(next.anyres->tile_size, 48);
  EXPECT_EQ(next.anyres->patch_size, 9);
  EXPECT_EQ(next.mean[0], 0.5);

  Json original = Json::parse(R"({"model_type":"llava_llama","image_aspect_ratio":"anyres",
    "image_grid_pinpoints":[[336,672],[672,336]],"mm_vision_tower":"openai/clip-vit-large-patch14-336"})");
  const PreprocessSettings named = parse_preprocess_settings(original, nullptr, nullptr, std::nullopt, "m");
  EXPECT_EQ(named.anyres->rule, PinpointRule::kOriginal);
  EXPECT_EQ(named.anyres->tile_size, 336);
  EXPECT_EQ(named.crop_hw->at(0), 336);
  EXPECT_EQ(parse_preprocess_settings(original, nullptr, nullptr, PinpointRule::kHf, "m").anyres->rule,
            PinpointRule::kHf);
  original["mm_vision_tower"] = "google/siglip-so400m-patch14-384";
  original["image_grid_pinpoints"] = "[(384, 768), (768, 384)]";
  EXPECT_EQ(parse_preprocess_settings(original, nullptr, nullptr, std::nullopt, "m").anyres->tile_size, 384);

  const Json bare = Json::parse(R"({"model_type":"clip_vision_model","image_size":56,"patch_size":14})");
  const PreprocessSettings clip = parse_preprocess_settings(bare, nullptr, nullptr, std::nullopt, "m");
  EXPECT_FALSE(clip.anyres);
  EXPECT_EQ(clip.output_hw()[1], 56);
}

TEST(PreprocessSettings, FromPreprocessorConfig) {
  const Json processor =
      Json::parse(R"({"image_processor_type":"CLIPImageProcessor","size":{"shortest_edge":50},
    "crop_size":{"height":40,"width":30},"resample":2,"image_mean":[0.1,0.2,0.3],"image_std":[1,2,3],
    "rescale_factor":0.5})");
  const PreprocessSettings found = parse_preprocess_settings(nullptr, processor, nullptr, std::nullopt, "m");
  EXPECT_EQ(found.resize_height, 50);
  EXPECT_EQ(found.output_hw(), (std::array<int64_t, 2>{40, 30}));
  EXPECT_EQ(found.filter, ResampleFilter::kBilinear);
  EXPECT_EQ(found.std[2], 3.0);
  const PreprocessedImage image =
      preprocess_image(at::full_like(at::empty({60, 70, 3}, at::kByte), 2), found);
  EXPECT_NEAR(image.pixel_values[0][1][0][0].item<double>(), (1.0 - 0.2) / 2.0, 1e-7);
}

TEST(PreprocessSettings, RefusesWhatIsNotSupported) {
  const auto refusal = [](Json processor) {
    processor["image_processor_type"] = "CLIPImageProcessor";
    return testing::refusal_of(
        [&] { parse_preprocess_settings(nullptr, processor, nullptr, std::nullopt, "m"); });
  };
  EXPECT_THAT(refusal({{"resample", 0}}), HasSubstr("resample"));
  EXPECT_THAT(refusal({{"do_resize", false}}), HasSubstr("do_resize"));
  EXPECT_THAT(refusal({{"size", {{"longest_edge", 5}}}}), HasSubstr("longest_edge"));
  EXPECT_THAT(refusal({{"size", {{"shortest_edge", 0}}}}), HasSubstr("1..8192"));
  EXPECT_THAT(refusal({{"crop_size", 500}}), HasSubstr("crop"));
  EXPECT_THAT(refusal({{"image_std", {1, 0, 1}}}), HasSubstr("positive std"));
  EXPECT_THAT(refusal({{"image_mean", {1, 2}}}), HasSubstr("three numbers"));
  EXPECT_THROW(parse_preprocess_settings({{"model_type", "bert"}}, nullptr, nullptr, std::nullopt, "m"),
               InputError);
  EXPECT_THROW(preset_settings("clipp"), UsageError);
  Json odd = siglip_next();
  odd["image_grid_pinpoints"] = {{48, 100}};
  EXPECT_THROW(parse_preprocess_settings(odd, nullptr, nullptr, std::nullopt, "m"), InputError);
}

}  // namespace
}  // namespace ropescope
