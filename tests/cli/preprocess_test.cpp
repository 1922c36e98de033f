// `ropescope preprocess` as a user runs it.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using testing::CommandResult;
using ::testing::HasSubstr;
using testing::json_lines;
using testing::run_ropescope;
using testing::synthetic_image;

TEST(PreprocessCommand, SizesAlone) {
  const auto run = run_ropescope("preprocess --preset llava-next-siglip --sizes 640x427,1x20000 --json");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::vector<Json> found = json_lines(run.out);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0]["size_wh"], Json({640, 427}));
  EXPECT_EQ(found[0]["best_wh"], Json({768, 768}));
  EXPECT_EQ(found[0].size(), 9u);
  // No grid keeps a pixel of it: of those the smallest wastes least, and the first of these is wide.
  EXPECT_EQ(found[1]["resized_wh"], Json({1, 384}));
  const auto plain = run_ropescope("preprocess --preset clip --sizes 5x6 --json");
  EXPECT_EQ(plain.out, "{\"size_wh\":[5,6]}\n");
  const auto table = run_ropescope("preprocess --preset llava-next-clip --sizes 500x400");
  EXPECT_THAT(table.out, HasSubstr("feat_H1W1"));
  EXPECT_THAT(table.out, HasSubstr("672 672"));
}

TEST(PreprocessCommand, PinpointsDecideTies) {
  const auto best = [](const std::string& flags) {
    return json_lines(
               run_ropescope("preprocess --preset llava-next-clip --sizes 100x100 --json " + flags).out)
        .at(0)["best_wh"];
  };
  EXPECT_EQ(best("--pinpoints hf"), Json({672, 336}));
  EXPECT_EQ(best("--pinpoints original"), Json({336, 672}));
  EXPECT_EQ(best(""), Json({672, 336}));
}

TEST(PreprocessCommand, WritesEveryImage) {
  testing::TemporaryFolder folder;
  const std::string output = folder.path("p.h5");
  const auto run = run_ropescope("preprocess --preset llava-next-clip --exif apply --json --image " +
                                 synthetic_image("exif_48x33.jpg") + "," + synthetic_image("rgba_64x41.png") +
                                 " --output " + output);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::vector<Json> found = json_lines(run.out);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0]["size_wh"], Json({33, 48}));
  const ResultReader file(output);
  EXPECT_EQ(file.read("/image/0/rgb").sizes().vec(), (std::vector<int64_t>{48, 33, 3}));
  EXPECT_EQ(file.read("/image/1/rgb").sizes().vec(), (std::vector<int64_t>{41, 64, 3}));
  const at::Tensor tiles = file.read("/image/1/tiles");
  EXPECT_EQ(tiles.sizes().vec(), (std::vector<int64_t>{3, 3, 336, 336}));
  EXPECT_EQ(tiles.scalar_type(), at::kByte);
  EXPECT_EQ(file.read("/image/1/pixel_values").scalar_type(), at::kFloat);
  EXPECT_EQ(std::get<std::string>(file.attribute("/image/1", "name")), "rgba_64x41.png");
  EXPECT_THAT(file.read_strings("/provenance/inputs/name"), ::testing::Contains("exif_48x33.jpg"));
  // An existing file stays.
  const std::string again =
      "preprocess --preset clip --image " + synthetic_image("dot_1x1.png") + " --output " + output;
  EXPECT_EQ(run_ropescope(again).exit_code, 2);
  EXPECT_EQ(run_ropescope(again + " --force").exit_code, 0);
}

TEST(PreprocessCommand, TellsOfAnIgnoredOrientation) {
  const auto run = run_ropescope("preprocess --preset clip --image " + synthetic_image("exif_48x33.jpg"));
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.err, HasSubstr("--exif apply"));
}

TEST(PreprocessCommand, ReadsAModelFolder) {
  testing::TemporaryFolder folder;
  std::ofstream(folder.path("config.json"))
      << R"({"model_type":"llava_llama","image_aspect_ratio":"anyres","mm_vision_tower":"tower",
            "image_grid_pinpoints":[[56,112],[112,56]]})";
  std::filesystem::create_directory(folder.path("tower"));
  std::ofstream(folder.path("tower/config.json"))
      << R"({"model_type":"clip_vision_model","image_size":56,"patch_size":14})";
  const std::string model = folder.path("");
  const auto run = run_ropescope("preprocess --model " + model + " --sizes 30x30 --json");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(json_lines(run.out).at(0)["best_wh"], Json({56, 112}));
  EXPECT_EQ(json_lines(run.out).at(0)["tokens"], 16 + 16 + 4);
  EXPECT_EQ(run_ropescope("preprocess --model " + synthetic_image("dot_1x1.png") + " --sizes 3x3").exit_code,
            3);
}

/// Every size of every setting of the golden files, as one call a setting prints it.
TEST(PreprocessCommand, GoldenSizesOfTheFamilies) {
  const std::vector<std::pair<const char*, const char*>> families = {
      {"qwen2_vl", "qwen2-vl"}, {"qwen2_5_vl", "qwen2.5-vl"}, {"qwen3_vl", "qwen3-vl"}, {"glm4v", "glm4v"}};
  for (const auto& [folder, preset] : families) {
    const Json golden = testing::golden_json(fmt::format("vlm/{}/preprocess_sizes.json", folder));
    std::string sizes;
    for (const Json& size : golden["sizes_wh"]) {
      sizes +=
          fmt::format("{}{}x{}", sizes.empty() ? "" : ",", size[0].get<int64_t>(), size[1].get<int64_t>());
    }
    for (const auto& [name, setting] : golden["settings_factor_min_max"].items()) {
      const bool clips = name.rfind("video", 0) == 0;
      if (clips && golden.contains("video_frames"))
        continue;  // another number of frames each; see test_vision
      const auto run = run_ropescope(fmt::format(
          "preprocess --preset {} --sizes {} --min-pixels {} --max-pixels {} {} --json", preset, sizes,
          setting[1].get<int64_t>(), setting[2].get<int64_t>(), clips ? "--frames 4" : ""));
      ASSERT_EQ(run.exit_code, 0) << run.err;
      const std::vector<Json> found = json_lines(run.out);
      ASSERT_EQ(found.size(), 200u);
      for (size_t i = 0; i < 200; ++i) {
        EXPECT_EQ(found[i]["size_wh"], golden["sizes_wh"][i]);
        const Json& expected = golden["resized_hw"][name][i];
        if (expected == "error") {
          EXPECT_TRUE(found[i].contains("error")) << found[i];
          EXPECT_FALSE(found[i].contains("tokens"));
        } else {
          EXPECT_EQ(found[i]["resized_hw"], expected) << name << " " << found[i];
          const auto grid = found[i]["grid_thw"].get<std::vector<int64_t>>();
          EXPECT_EQ(found[i]["tokens"], grid[0] * grid[1] * grid[2] / 4);
        }
      }
    }
  }
}

TEST(PreprocessCommand, TiledFamilies) {
  const auto first = [](const std::string& flags) {
    return json_lines(run_ropescope("preprocess --json --sizes 1000x700 --preset " + flags).out).at(0);
  };
  EXPECT_EQ(first("internvl")["tiles_cols_rows"], Json({3, 2}));
  EXPECT_EQ(first("internvl")["tokens"], 1792);
  EXPECT_EQ(first("idefics3")["rows_cols"], Json({3, 4}));
  EXPECT_EQ(first("gemma3")["crops_hw"], Json({{700, 500}, {700, 500}}));
  EXPECT_EQ(first("llava-onevision")["tokens"], 4941);
  EXPECT_EQ(first("llava-onevision --nested")["tokens"], 4941);  // one picture is tiled all the same
  EXPECT_EQ(first("llava")["resized_hw"], Json({336, 480}));
  EXPECT_EQ(first("qwen3-vl --frames 7")["grid_thw"][0], 4);
  const auto nested =
      run_ropescope("preprocess --preset llava-onevision --nested --json --sizes 1000x700,30x50");
  EXPECT_EQ(json_lines(nested.out).at(1)["tokens"], 730);
  const auto table = run_ropescope("preprocess --preset qwen2-vl --sizes 1x1000,640x480");
  EXPECT_THAT(table.out, HasSubstr("at most 200 times"));
  EXPECT_THAT(table.out, HasSubstr("476 644"));
}

TEST(PreprocessCommand, WritesWhatAProcessorHandsOn) {
  const testing::TemporaryFolder folder;
  const std::string output = folder.path("p.h5");
  const std::string picture = testing::golden_path("vlm/images/cat.png");
  const auto run = run_ropescope("preprocess --model " + testing::golden_path("vlm/qwen2_5_vl") +
                                 " --image " + picture + " --json --output " + output);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(json_lines(run.out).at(0)["grid_thw"], Json({1, 8, 12}));
  const ResultReader file(output);
  EXPECT_EQ(file.read("/image/0/patches").sizes().vec(), (std::vector<int64_t>{96, 96}));
  EXPECT_EQ(file.read("/image/0/pixel_values").scalar_type(), at::kFloat);
  EXPECT_EQ(file.read("/image/0/image_grid_thw").sizes().vec(), (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(file.read("/image/0/rgb").size(2), 3);
  // A clip that is a folder of frames.
  for (int i = 0; i < 4; ++i) {
    folder.write(fmt::format("clip/{}.png", i),
                 read_file(testing::golden_path(fmt::format("vlm/images/frame{}.png", i))));
  }
  const auto clip =
      run_ropescope("preprocess --model " + testing::golden_path("vlm/qwen2_5_vl") + " --video " +
                    folder.path("clip") + " --fps 1.6 --json --force --output " + output);
  ASSERT_EQ(clip.exit_code, 0) << clip.err;
  const Json line = json_lines(clip.out).at(0);
  EXPECT_EQ(line["grid_thw"], Json({2, 4, 8}));
  EXPECT_EQ(line["second_per_grid"], 1.25);
  EXPECT_EQ(line["source_fps"], 1.6);
  EXPECT_EQ(line["frame_index"], Json({0, 1, 2, 3}));
  const ResultReader clips(output);
  EXPECT_EQ(clips.read("/video/0/pixel_values_videos").sizes().vec(), (std::vector<int64_t>{64, 96}));
  EXPECT_EQ(clips.read("/video/0/second_per_grid_ts").item<float>(), 1.25f);
  EXPECT_EQ(clips.read("/video/0/frame_index").size(0), 4);
}

TEST(PreprocessCommand, Errors) {
  const auto fails = [](const std::string& flags, int code, const std::string& part) {
    const auto run = run_ropescope("preprocess " + flags);
    EXPECT_EQ(run.exit_code, code) << flags << "\n" << run.err;
    EXPECT_THAT(run.err, HasSubstr(part)) << flags;
  };
  fails("--sizes 3x3", 2, "--model and --preset");
  fails("--preset clip", 2, "--image and --sizes");
  fails("--preset clop --sizes 3x3", 2, "did you mean \"clip\"");
  fails("--preset clip --sizes 3", 2, "640x427");
  fails("--preset clip --sizes 0x3", 2, "640x427");
  fails("--preset clip --sizes 3x3 --output x.h5", 2, "no pixels");
  fails("--preset clip --sizes 3x3 --pinpoints both", 2, "--pinpoints");
  fails("--preset clip --image no-such.png", 3, "no-such.png");
  fails("--preset clip --sizes 3x3 --frames 4", 2, "--frames");
  fails("--preset internvl --sizes 3x3 --frames 4", 2, "found internvl");
  fails("--preset internvl --sizes 3x3 --min-pixels 4", 2, "--min-pixels");
  fails("--preset qwen2-vl --sizes 3x3 --nested", 2, "--nested");
  fails("--preset qwen2-vl --sizes 3x3 --pinpoints hf", 2, "--pinpoints");
  fails("--preset qwen2-vl --sizes 3x3 --min-pixels 4000 --max-pixels 3000", 3, "max_pixels");
  fails("--preset qwen2-vl --sizes 3x3 --min-pixels 0", 2, "min-pixels");
  fails("--preset qwen2-vl --sizes 3x3 --frames 100000", 2, "frames");
  fails("--preset qwen2-vl --video no-such.mp4", 3, "no-such.mp4");
  fails("--preset qwen2-vl --video " + testing::golden_path("vlm/images"), 2, "how many");
  fails("--preset qwen3vl --sizes 3x3", 2, "did you mean \"qwen3-vl\"");
  fails("--preset clip --alpha grey --image " + synthetic_image("dot_1x1.png"), 2, "--alpha");
  fails("--preset clip --image " + testing::golden_path("vision/anyres.json"), 3,
        "expected a JPEG, PNG, WebP, TIFF, GIF or BMP");
}

}  // namespace
}  // namespace ropescope
