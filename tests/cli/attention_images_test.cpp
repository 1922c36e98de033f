// `ropescope attention` on images, as a user runs it.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/tiny_llava.h"
#include "tests/support/vision_files.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

class AttentionImages : public ::testing::Test {
 protected:
  void SetUp() override { write_tiny_llava(folder_.path("")); }
  CommandResult attention(const std::string& flags, const std::string& output = "a.h5") const {
    return run_ropescope("attention --quiet --force --model '" + folder_.path("") + "' --output '" +
                         folder_.path(output) + "' " + flags);
  }
  Json report_of(const std::string& flags) const {
    const CommandResult run = attention(flags + " --json");
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return run.exit_code == 0 ? parse_json(run.out, "stdout") : Json();
  }
  ResultReader result() const { return ResultReader(folder_.path("a.h5")); }

  TemporaryFolder folder_;
  std::string picture_ = synthetic_image("rgba_64x41.png");
};

TEST_F(AttentionImages, EachImageIsAnInputAndSeveralGoIntoOnePrompt) {
  const std::string four = "--image " + picture_ + "," + synthetic_image("gray_37x53.png") + "," +
                           synthetic_image("dot_1x1.png") + "," + synthetic_image("strip_3x200.png") +
                           " --queries text ";
  const Json apart = report_of(four + "--prompt 'What is shown?'");
  EXPECT_EQ(apart["inputs"].size(), 4u);
  EXPECT_EQ(apart["schemes"][1]["measures"]["visual_share"]["count"], 4);
  EXPECT_TRUE(apart["schemes"][1]["measures"]["visual_share"]["ci95_low"].is_number());
  EXPECT_FALSE(apart["untrained_features"].get<bool>());

  // Images in the middle: the question is what stands behind the last one.
  const Json together = report_of(four + "--template none --prompt 'Compare <image> with <image> now'");
  EXPECT_EQ(together["inputs"].size(), 2u);
  EXPECT_EQ(together["inputs"][0], "rgba_64x41.png+gray_37x53.png");
  const ResultReader file = result();
  const at::Tensor block = file.read("/attention/inputs/0/block");
  EXPECT_EQ(block.max().item<int>(), 1);
  const int64_t first = file.read("/attention/vanilla/query_index").min().item<int64_t>();
  EXPECT_EQ(std::get<int64_t>(file.attribute("/attention/inputs/0", "question_first")), first);
  EXPECT_EQ(block[first].item<int>(), -1);
  EXPECT_EQ(block[first - 1].item<int>(), 1);
  EXPECT_EQ(attention(four + "--prompt '<image> <image> <image> x'").exit_code, 2);
}

TEST_F(AttentionImages, StreamedWeightsGiveTheSameFile) {
  const std::string text = folder_.path("text.jsonl");
  std::ofstream(text) << Json{{"text", std::string(400, 'a') + " lamp"}}.dump() << "\n";
  const std::vector<std::string> cases = {
      "--queries text --schemes 'vanilla;id-align;dipe'",
      "--queries generated --max-new-tokens 3 --schemes 'vanilla;id-align' --layers 0",
      "--queries last --schemes 'vanilla;id-align' --text-lengths 0,8,16 --distractor " + text};
  for (const std::string& flags : cases) {
    const std::string all = "--image " + picture_ + "," + synthetic_image("gray_37x53.png") +
                            " --prompt 'What is the dog doing?' " + flags;
    ASSERT_EQ(attention(all + " --weights resident", "a.h5").exit_code, 0) << flags;
    ASSERT_EQ(attention(all + " --weights streamed", "b.h5").exit_code, 0) << flags;
    const CommandResult same =
        run_ropescope("compare --rtol 0 --atol 0 " + folder_.path("a.h5") + " " + folder_.path("b.h5"));
    EXPECT_EQ(same.exit_code, 0) << same.out;
  }
}

TEST_F(AttentionImages, RegionAndWordAskAndTheirMeansSuffice) {
  const std::string flags = "--image " + picture_ +
                            " --prompt 'What is the dog doing?' --region 10,5,20,12 --word dog "
                            "--schemes 'vanilla;id-align' --plot '" +
                            folder_.path("plots") + "' ";
  const Json report = report_of(flags);
  EXPECT_EQ(report["queries"], Json({"region", "word"}));
  at::Tensor mean, whole;
  {
    const ResultReader file = result();
    const at::Tensor region = file.read("/attention/id-align/sets/region"),
                     queries = file.read("/attention/id-align/query_index");
    ASSERT_GE(region.numel(), 2);
    const at::Tensor modality = file.read("/attention/inputs/0/modality");
    for (int64_t i = 0; i < region.numel(); ++i) {
      EXPECT_EQ(modality[region[i].item<int64_t>()].item<int>(), 2);  // high-resolution
    }
    whole = file.read("/attention/id-align/rows");
    EXPECT_TRUE(all_close(queries.narrow(0, 0, region.numel()), region, 0));  // the word comes later
    mean = whole.narrow(2, 0, region.numel()).mean(2);
    const auto colours = file.read("/attention/inputs/0/picture-0");
    EXPECT_EQ(colours.sizes().vec(), (std::vector<int64_t>{41, 64, 3}));
  }
  for (const char* name : {"region-to-thumbnail", "word-to-thumbnail", "visual-share-by-layer"}) {
    for (const char* extension : {".png", ".svg"}) {
      EXPECT_GT(std::filesystem::file_size(folder_.path("plots/") + name + extension), 2000u) << name;
    }
  }
  report_of(flags + "--keep means");
  const ResultReader file = result();
  EXPECT_FALSE(file.has("/attention/id-align/rows"));
  EXPECT_TRUE(all_close(file.read("/attention/id-align/means/region"), mean, 1e-7));
  report_of("--image " + picture_ + " --prompt 'What is the dog doing?' --word dog --keep numbers");
  EXPECT_FALSE(result().has("/attention/vanilla/means/word"));
  EXPECT_EQ(attention(flags + "--keep numbers").exit_code, 2);
  EXPECT_EQ(attention(flags + "--keep row").exit_code, 2);
  const CommandResult missing = attention("--image " + picture_ + " --prompt 'What is it?' --word cat");
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.err, HasSubstr("What is it?"));
  const CommandResult outside = attention("--image " + picture_ + " --region 64,0,5,5");
  EXPECT_EQ(outside.exit_code, 2);
  EXPECT_THAT(outside.err, HasSubstr("64x41"));
}

TEST_F(AttentionImages, GeneratedTokensAskAndEarlyLayersAreTheSameAlone) {
  const std::string flags = "--image " + picture_ + " --queries last,generated --max-new-tokens 3 ";
  report_of(flags);
  const at::Tensor whole = result().read("/attention/id-align/rows");
  EXPECT_EQ(whole.size(2), 1 + result().read("/attention/id-align/generated").numel());
  report_of(flags + "--layers 0");
  EXPECT_TRUE(all_close(result().read("/attention/id-align/rows")[0], whole[0], 0));
}

TEST_F(AttentionImages, RealTextComesBetweenImageAndQuestion) {
  std::ofstream(folder_.path("d.txt"))
      << "The library keeps its books on shelves of oak. It is quiet there. ";
  const Json report = report_of("--image " + picture_ + " --queries text --distractor '" +
                                folder_.path("d.txt") + "' --text-lengths 0,8,16");
  for (const Json& scheme : report["schemes"]) {
    ASSERT_EQ(scheme["fading"].size(), 3u);
    EXPECT_NEAR(scheme["fading"][0]["mean"].get<double>(),
                scheme["measures"]["visual_share"]["mean"].get<double>(), 1e-6);
    EXPECT_LT(scheme["fading"][2]["uniform_share"].get<double>(),
              scheme["fading"][0]["uniform_share"].get<double>());
  }
}

TEST_F(AttentionImages, AStripWithoutHighResolutionIsLegal) {
  write_tiff(folder_.path("strip.tif"), 1, 20000);
  const Json report = report_of("--image '" + folder_.path("strip.tif") + "' --queries text");
  EXPECT_GT(report["schemes"][0]["measures"]["thumbnail_share"]["mean"].get<double>(), 0);
  const std::string flags =
      " --model '" + folder_.path("") + "' --image '" + folder_.path("strip.tif") + "' ";
  EXPECT_EQ(
      run_ropescope("generate --quiet --prompt x --max-new-tokens 1 --scheme id-align" + flags).exit_code, 0);
  const CommandResult high = attention("--queries high --image '" + folder_.path("strip.tif") + "'");
  EXPECT_EQ(high.exit_code, 2);
  EXPECT_THAT(high.err, HasSubstr("no high-resolution tokens"));
}

TEST_F(AttentionImages, BadFilesAreSentencesAndLeaveNothing) {
  write_tiff(folder_.path("bomb.tif"), 2, 2, 60000, 60000);
  const std::string bytes = read_file(picture_);
  std::ofstream(folder_.path("half.png"), std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  std::ofstream(folder_.path("empty.png"));
  const std::pair<std::string, const char*> cases[] = {
      {folder_.path("bomb.tif"), "decompression bomb"},
      {folder_.path("half.png"), "half.png"},
      {folder_.path("empty.png"), "empty"},
      {folder_.path("config.json"), "expected a JPEG, PNG, WebP, TIFF, GIF or BMP image"},
      {folder_.path("no.png"), "no.png"},
  };
  for (const auto& [file, words] : cases) {
    const CommandResult run = attention("--image '" + file + "'", "bad.h5");
    EXPECT_EQ(run.exit_code, 3) << file << run.err;
    EXPECT_THAT(run.err, HasSubstr(words));
    EXPECT_FALSE(std::filesystem::exists(folder_.path("bad.h5")));
    const std::string more = " --model '" + folder_.path("") + "' --image '" + file + "' ";
    EXPECT_EQ(run_ropescope("generate --quiet --prompt x" + more).exit_code, 3) << file;
    EXPECT_EQ(
        run_ropescope("trace --quiet --text x --output '" + folder_.path("bad.h5") + "'" + more).exit_code,
        3);
  }
}

TEST_F(AttentionImages, OrientationIsFollowedWhereAsked) {
  const std::string turned = synthetic_image("exif_48x33.jpg");
  for (const std::string exif : {"ignore", "apply"}) {
    const Json report = report_of("--image " + turned + " --exif " + exif + " --layers 0");
    const ResultReader file = result();
    const at::Tensor picture = file.read("/attention/inputs/0/picture-0");
    EXPECT_EQ(picture.size(0), exif == "apply" ? 48 : 33);
    // trace sees what attention and preprocess see.
    const std::string trace = folder_.path("t.h5"), tiles = folder_.path("p.h5");
    const std::string model = " --quiet --force --model '" + folder_.path("") + "' ";
    const CommandResult by_file = run_ropescope("trace --text '<image> x' --dump inputs_embeds --image " +
                                                turned + " --exif " + exif + model + "--output " + trace);
    ASSERT_EQ(by_file.exit_code, 0) << by_file.err;
    const at::Tensor embeds = ResultReader(trace).read("/trace/inputs_embeds");
    ASSERT_EQ(run_ropescope("preprocess --image " + turned + " --exif " + exif + model + "--output " + tiles)
                  .exit_code,
              0);
    const at::Tensor pixels = ResultReader(tiles).read("/image/0/pixel_values").unsqueeze(0);
    write_safetensors(
        folder_.path("pixels.safetensors"),
        {{"pixel_values", pixels},
         {"image_sizes_hw", at::tensor({picture.size(0), picture.size(1)}, at::kLong).unsqueeze(0)}});
    const CommandResult by_pixels =
        run_ropescope("trace --text '<image> x' --dump inputs_embeds --pixels '" +
                      folder_.path("pixels.safetensors") + "'" + model + "--output " + trace);
    ASSERT_EQ(by_pixels.exit_code, 0) << by_pixels.err;
    EXPECT_TRUE(all_close(ResultReader(trace).read("/trace/inputs_embeds"), embeds, 0));
  }
}

}  // namespace
}  // namespace ropescope
