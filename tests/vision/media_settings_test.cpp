// What model folders say of their pictures and clips, and what is refused.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/vision/media_processor.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using testing::golden_json;
using ::testing::HasSubstr;
using testing::refusal_of;
using testing::TemporaryFolder;

/// A folder with the golden files of `family`, changed by `change(config, processor)`.
template <typename Change>
MediaSettings changed(const std::string& family, const Change& change) {
  Json config = golden_json("vlm/" + family + "/config.json");
  Json processor = golden_json("vlm/" + family + "/processor_config.json");
  change(config, processor);
  const TemporaryFolder folder;
  folder.write("config.json", config.dump());
  folder.write("processor_config.json", processor.dump());
  return read_media_settings(folder.path(""));
}

TEST(MediaSettingsFiles, SaysWhatAFolderSays) {
  const MediaSettings qwen = changed("qwen2_vl", [](Json&, Json&) {});
  EXPECT_EQ(qwen.patch, 4);
  EXPECT_EQ(qwen.max_pixels, 1536);
  EXPECT_EQ(qwen.video_max_pixels, 768);
  EXPECT_FALSE(qwen.sampling.sample);
  const MediaSettings glm =
      changed("glm4v", [](Json&, Json& files) { files["video_processor"]["fps"] = 0.5; });
  EXPECT_TRUE(glm.sampling.sample);
  EXPECT_EQ(glm.sampling.rate, 0.5);
  EXPECT_EQ(glm.sampling.rule, SamplingRule::kPerSecond);
  // The file says false, as public ones do; the processor tiles all the same.
  EXPECT_TRUE(changed("internvl", [](Json&, Json& files) {
                files["image_processor"]["crop_to_patches"] = false;
              }).split);
  EXPECT_TRUE(changed("gemma3", [](Json&, Json& files) {
                files["image_processor"]["do_pan_and_scan"] = true;
              }).split);
  EXPECT_FALSE(changed("gemma3", [](Json&, Json& files) {
                 files["image_processor"]["do_pan_and_scan"] = nullptr;
               }).split);
}

TEST(MediaSettingsFiles, ASeparateFileForClips) {
  const TemporaryFolder folder;
  const Json processor = golden_json("vlm/qwen3_vl/processor_config.json");
  folder.write("config.json", golden_json("vlm/qwen3_vl/config.json").dump());
  folder.write("preprocessor_config.json", processor["image_processor"].dump());
  // Without it, the file for pictures speaks of clips too.
  EXPECT_EQ(read_media_settings(folder.path("")).video_max_pixels, 1536);
  folder.write("video_preprocessor_config.json", processor["video_processor"].dump());
  EXPECT_EQ(read_media_settings(folder.path("")).video_max_pixels, 2560);
}

TEST(MediaSettingsFiles, Refusals) {
  const auto refused = [](const std::string& family, const auto& change, const std::string& part) {
    EXPECT_THAT(refusal_of([&] { MediaProcessor{changed(family, change)}; }), HasSubstr(part)) << family;
  };
  const auto image = [](const char* key, const Json& value) {
    return [key, value](Json&, Json& files) { files["image_processor"][key] = value; };
  };
  const auto config = [](const char* key, const Json& value) {
    return [key, value](Json& model, Json&) { model[key] = value; };
  };
  refused("qwen2_vl", config("model_type", "qwen9_vl"), "expected one of qwen2_vl");
  refused("qwen2_vl", image("image_mean", nullptr), "image_mean");
  refused("internvl", image("image_std", {0.0, 1.0, 1.0}), "positive image_std");
  refused("qwen2_vl", image("image_mean", {0.1, "x", 1.0}), "three numbers");
  refused("qwen2_vl", image("resample", 5), "resample");
  refused("qwen2_vl", image("do_resize", false), "do_resize");
  refused("qwen2_vl", image("patch_size", 5), "the same number");
  refused("qwen2_vl", image("size", {{"shortest_edge", 10}, {"longest_edge", 5}}), "max_pixels");
  refused("qwen2_vl", image("size", {{"shortest_edge", "x"}}), "shortest_edge");
  refused(
      "qwen2_vl",
      [](Json&, Json& files) {
        files["video_processor"]["image_mean"] = {0.1, 0.1, 0.1};
      },
      "as pictures are");
  refused(
      "qwen2_vl", [](Json&, Json& files) { files["video_processor"]["cap_pixels_per_frame"] = true; },
      "cap_pixels");
  refused("internvl", image("size", nullptr), "size of a tile");
  refused("internvl", image("size", {{"height", 24}, {"width", 48}}), "a square");
  refused("internvl", image("size", 0), "a square");
  refused("internvl", image("max_patches", 100000), "max_patches");
  refused("internvl", config("downsample_ratio", 0.3), "downsample_ratio");
  refused(
      "internvl", [](Json&, Json& files) { files["image_seq_length"] = 10; }, "image_seq_length");
  refused("idefics3", image("max_image_size", {{"longest_edge", int64_t{1} << 62}}), "max_image_size");
  refused("idefics3", image("size", {{"longest_edge", 0}}), "a length in pixels");
  refused("idefics3", config("scale_factor", 0), "scale_factor");
  refused("gemma3", config("mm_tokens_per_image", std::numeric_limits<int64_t>::max()),
          "mm_tokens_per_image");
  refused("gemma3", config("mm_tokens_per_image", 15), "square number");
  refused("llava", image("do_center_crop", false), "do_center_crop");
  refused("llava", config("vision_feature_select_strategy", "full"), "vision_feature_select_strategy");
  refused("llava_onevision", config("vision_aspect_ratio", "pad"), "vision_aspect_ratio");
  refused("llava_onevision", image("image_grid_pinpoints", {{13, 14}}), "multiples of the tile");
  const TemporaryFolder folder;
  EXPECT_THAT(refusal_of([&] { read_media_settings(folder.path("")); }), HasSubstr("config.json"));
  folder.write("config.json", golden_json("vlm/llava/config.json").dump());
  EXPECT_THAT(refusal_of([&] { read_media_settings(folder.path("")); }), HasSubstr("processor_config.json"));
}

/// Any value at any key is read or refused with a sentence.
TEST(MediaSettingsFiles, OddValuesEverywhere) {
  const std::vector<Json> odd = {nullptr,
                                 -1,
                                 0,
                                 7,
                                 1e300,
                                 std::numeric_limits<uint64_t>::max(),
                                 "x",
                                 true,
                                 Json::array(),
                                 Json::object(),
                                 {1, 2},
                                 {{"height", -3}, {"width", -3}}};
  int64_t read = 0, refused = 0;
  for (const char* family :
       {"qwen3_vl", "glm4v", "llava_onevision", "internvl", "idefics3", "gemma3", "llava"}) {
    const Json files = golden_json(std::string("vlm/") + family + "/processor_config.json");
    for (const char* part : {"image_processor", "video_processor"}) {
      if (!files.contains(part)) continue;
      for (const auto& [key, value] : files[part].items()) {
        for (const Json& other : odd) {
          try {
            const MediaProcessor processor(
                changed(family, [&, name = key](Json&, Json& all) { all[part][name] = other; }));
            EXPECT_GT(processor.plan_image(50, 40).tokens(), 0);
            ++read;
          } catch (const Error&) {
            ++refused;
          }
        }
      }
    }
  }
  EXPECT_GT(read, 500);
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace ropescope
