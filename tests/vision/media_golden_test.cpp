// Pixels, tensors and prompts of the tiny models of eleven families against their processors. Pixels before rescaling equal
// Pillow's bit for bit; pixel_values are those of another backend, up to two levels away.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/cat.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/image.h"
#include "ropescope/vision/media_processor.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"
#include "tests/vision/digest.h"

namespace ropescope {
namespace {

using testing::all_close;
using testing::digest;
using testing::golden_json;
using testing::golden_path;

namespace fs = std::filesystem;

at::Tensor golden_picture(const std::string& name) {
  return read_image(golden_path("vlm/images/" + name + ".png")).rgb_HW3;
}

/// The folder's settings with the arguments that a case gave to its processor.
MediaProcessor processor_of(MediaSettings settings, const Json& run) {
  const Json arguments =
      run.value("processor_arguments", Json::object()).value("images_kwargs", Json::object());
  for (const auto& [key, value] : arguments.items()) {
    if (key == "do_image_splitting" || key == "do_pan_and_scan") {
      settings.split = value;
    } else if (key == "do_pad") {
      settings.pad_to_square = value;
    } else if (key == "pan_and_scan_min_crop_size") {
      settings.min_crop = value;
    } else if (key == "pan_and_scan_max_num_crops") {
      settings.max_crops = value;
    } else if (key == "pan_and_scan_min_ratio_to_activate") {
      settings.min_crop_ratio = value;
    } else {
      ADD_FAILURE() << "an unknown argument: " << key;
    }
  }
  return MediaProcessor(settings);
}

/// The pictures and the clip of a case.
std::vector<MediaItem> items_of(const MediaProcessor& processor, const Json& run) {
  std::vector<at::Tensor> pictures, frames;
  for (const Json& name : run["images"]) pictures.push_back(golden_picture(name));
  const bool flat = run["name"].get<std::string>().find("flat_list") != std::string::npos;
  std::vector<MediaItem> items = processor.images(pictures, flat ? PictureList::kFlat : PictureList::kNested);
  const int64_t count = run["video_frames"];
  for (int64_t i = 0; i < count; ++i) frames.push_back(golden_picture(fmt::format("frame{}", i)));
  if (count > 0) {
    const SampledFrames sampled =
        sample_frames(count, run["video_fps"], processor.settings().sampling, "the golden clip");
    EXPECT_EQ(static_cast<int64_t>(sampled.indices.size()), count);
    items.push_back(processor.video(frames, sampled));
  }
  return items;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

class MediaGolden : public ::testing::TestWithParam<const char*> {
 protected:
  std::string folder() const { return std::string("vlm/") + GetParam(); }
  MediaSettings settings() const { return read_media_settings(golden_path(folder())); }
  Json cases() const { return golden_json(folder() + "/expected.json")["cases"]; }
};

TEST_P(MediaGolden, PixelsEqualPillows) {
  int64_t compared = 0;
  for (const Json& run : cases()) {
    if (!run.contains("pillow")) continue;
    std::vector<at::Tensor> pixels;
    const MediaProcessor processor = processor_of(settings(), run);
    for (const MediaItem& item : items_of(processor, run)) {
      if (item.plan.kind == MediaKind::kImage) pixels.push_back(item.pixels_u8);
    }
    EXPECT_EQ(digest(at::cat(pixels)), run["pillow"]["uint8_sha256"]) << run["name"];
    ++compared;
  }
  EXPECT_GE(compared, 3);
}

TEST_P(MediaGolden, TensorsOfTheProcessor) {
  const auto golden = testing::golden_tensors(folder() + "/expected.safetensors");
  for (const Json& run : cases()) {
    const std::string name = run["name"];
    const MediaProcessor processor = processor_of(settings(), run);
    const auto found = processor.tensors(items_of(processor, run));
    for (const char* key :
         {"pixel_values", "pixel_values_videos", "image_grid_thw", "video_grid_thw", "second_per_grid_ts",
          "image_sizes", "batch_num_images", "pixel_attention_mask"}) {
      const auto expected = golden.find(name + "." + key);
      const auto ours = found.find(key);
      ASSERT_EQ(expected != golden.end(), ours != found.end()) << name << " " << key;
      if (ours == found.end()) continue;
      const bool is_pixels = std::string(key).rfind("pixel_values", 0) == 0;
      double level = 0.0;
      for (const double std : processor.settings().std) level = std::max(level, 1.0 / (255.0 * std));
      EXPECT_TRUE(all_close(ours->second, expected->second, is_pixels ? 2.02 * level : 0.0))
          << name << " " << key;
    }
  }
}

TEST_P(MediaGolden, PromptsAreExpanded) {
  for (const Json& run : cases()) {
    const MediaProcessor processor = processor_of(settings(), run);
    std::vector<MediaPlan> plans;
    for (const MediaItem& item : items_of(processor, run)) plans.push_back(item.plan);
    std::string found = processor.expand_text(run["text"], plans);
    found = replaced(found, processor.settings().words.placeholder, "I");
    if (processor.takes_video()) found = replaced(found, processor.settings().words.video, "V");
    EXPECT_EQ(found, run["expanded_text"]) << run["name"];
    // Runs are the spans of the sequence, but where two follow each other without a break.
    std::vector<int64_t> runs;
    for (const MediaPlan& plan : plans) {
      for (const MediaRun& part : plan.runs) {
        const bool joined = !runs.empty() && part.before.empty() && &part != &plan.runs[0];
        if (joined) {
          runs.back() += part.tokens;
        } else {
          runs.push_back(part.tokens);
        }
      }
    }
    std::vector<int64_t> spans;
    for (const Json& span : run["spans"]) spans.push_back(span[2]);
    EXPECT_EQ(runs, spans) << run["name"];
  }
}

/// What stands where in the sequence, letter by letter, from the runs alone.
TEST_P(MediaGolden, RunsSayWhatEachTokenIs) {
  const Json golden = golden_json(folder() + "/expected.json");
  if (!golden.contains("idalign")) return;
  for (const Json& run : golden["cases"]) {
    const std::string name = run["name"];
    if (!golden["idalign"].contains(name)) continue;
    const MediaProcessor processor = processor_of(settings(), run);
    const MediaPlan plan = items_of(processor, run).at(0).plan;
    const std::string expected = golden["idalign"][name]["kinds"];
    std::string found(expected.size(), 't');
    // Where the next run begins: the spans say it for the first of those that follow each other.
    size_t at = 0, span = 0;
    for (const MediaRun& part : plan.runs) {
      if (&part == &plan.runs[0] || !part.before.empty()) at = run["spans"][span++][1];
      for (int64_t i = 0; i < part.lead; ++i) found.at(at - static_cast<size_t>(i) - 1) = 'b';
      const bool is_tile = part.role == MediaRun::Role::kTile;
      for (int64_t i = 0; i < part.tokens; ++i) {
        const bool ends_row = part.newlines == part.h && i % (part.w + 1) == part.w;
        found.at(at++) = ends_row ? 'a' : is_tile ? 'h' : 'o';
      }
      for (int64_t i = 0; i < part.tail; ++i) found.at(at + static_cast<size_t>(i)) = 'a';
    }
    EXPECT_EQ(found, expected) << name;
  }
}

/// Grids and tiles alone give the same runs.
TEST_P(MediaGolden, PlansWithoutPictures) {
  const auto same_runs = [](const MediaPlan& a, const MediaPlan& b) {
    ASSERT_EQ(a.runs.size(), b.runs.size());
    for (size_t i = 0; i < a.runs.size(); ++i) {
      const MediaRun &x = a.runs[i], &y = b.runs[i];
      EXPECT_EQ(x.role, y.role);
      EXPECT_EQ((std::vector<int64_t>{x.tokens, x.t, x.h, x.w, x.row, x.column, x.lead, x.tail}),
                (std::vector<int64_t>{y.tokens, y.t, y.h, y.w, y.row, y.column, y.lead, y.tail}));
    }
    EXPECT_EQ(a.placeholder, b.placeholder);
    EXPECT_EQ(a.high_hw, b.high_hw);
    EXPECT_EQ(a.tiles, b.tiles);
  };
  for (const Json& run : cases()) {
    SCOPED_TRACE(run["name"].get<std::string>());
    const MediaProcessor processor = processor_of(settings(), run);
    for (const MediaItem& item : items_of(processor, run)) {
      const MediaPlan& plan = item.plan;
      if (plan.grid_thw[0] > 0) {
        same_runs(processor.plan_grid(plan.kind, plan.grid_thw, plan.second_per_grid), plan);
        EXPECT_THROW(processor.plan_tiles(1, 1), InputError);
        EXPECT_THROW(processor.plan_grid(plan.kind, {1, 3, 2}), InputError);
        EXPECT_THROW(processor.plan_grid(plan.kind, {1, 0, 2}), InputError);
      } else if (processor.family().rfind("llava", 0) == 0) {
        EXPECT_THROW(processor.plan_tiles(1, 1), InputError);
      } else {
        same_runs(processor.plan_tiles(plan.tiles_rows_cols[0], plan.tiles_rows_cols[1]), plan);
        EXPECT_THROW(processor.plan_grid(plan.kind, {1, 2, 2}), InputError);
        EXPECT_THROW(processor.plan_tiles(1, 0), InputError);
      }
    }
  }
}

TEST_P(MediaGolden, TheOlderFormOfTheFilesSaysTheSame) {
  const std::string old = golden_path(folder() + "/preprocessor_config.old.json");
  if (!fs::exists(old)) return;
  const testing::TemporaryFolder model;
  fs::copy_file(old, model.path("preprocessor_config.json"));
  fs::copy_file(golden_path(folder() + "/config.old.json"), model.path("config.json"));
  fs::copy_file(golden_path(folder() + "/tokenizer_config.json"), model.path("tokenizer_config.json"));
  const MediaProcessor now(settings()), then = read_media_processor(model.path(""));
  for (const auto& [w, h] :
       std::vector<std::array<int64_t, 2>>{{120, 80}, {38, 133}, {46, 46}, {30, 30}, {151, 27}}) {
    const MediaPlan a = now.plan_image(w, h), b = then.plan_image(w, h);
    EXPECT_EQ(now.report(a), then.report(b));
    const std::string& marker = now.settings().words.image;
    EXPECT_EQ(now.expand_text(marker, {a}), then.expand_text(marker, {b}));
  }
  const at::Tensor cat = golden_picture("cat");
  EXPECT_TRUE(now.image(cat).pixel_values.equal(then.image(cat).pixel_values));
}

INSTANTIATE_TEST_SUITE_P(Families, MediaGolden,
                         ::testing::Values("qwen2_5_vl", "qwen2_vl", "qwen3_vl", "qwen3_5", "glm4v",
                                           "llava_onevision", "internvl", "idefics3", "smolvlm", "gemma3",
                                           "llava"),
                         [](const auto& family) { return std::string(family.param); });

TEST(MediaText, MarkersAndPlansMustAgree) {
  const MediaProcessor processor(media_preset("qwen2-vl"));
  const MediaPlan plan = processor.plan_image(56, 56);
  EXPECT_EQ(processor.expand_text("no picture", {}), "no picture");
  EXPECT_EQ(processor.expand_text("<|image_pad|>.", {plan}),
            "<|image_pad|><|image_pad|><|image_pad|><|image_pad|>.");
  EXPECT_THROW(processor.expand_text("none", {plan}), InputError);
  EXPECT_THROW(processor.expand_text("<|image_pad|><|image_pad|>", {plan}), InputError);
  EXPECT_THROW(processor.expand_text("<|video_pad|>", {plan}), InputError);
}

}  // namespace
}  // namespace ropescope
