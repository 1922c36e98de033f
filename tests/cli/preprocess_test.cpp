// `ropescope preprocess` as a user runs it.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
  fails("--preset clip --alpha grey --image " + synthetic_image("dot_1x1.png"), 2, "--alpha");
  fails("--preset clip --image " + testing::golden_path("vision/anyres.json"), 3,
        "expected a JPEG, PNG, WebP, TIFF, GIF or BMP");
}

}  // namespace
}  // namespace ropescope
