// Sizes, grids and token counts of 200 pictures and the frames of clips against the reference processors: equality.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/media_processor.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using testing::golden_json;

/// The preset with the bounds of a golden setting, [factor, min, max].
MediaProcessor with_bounds(const std::string& preset, const std::string& name, const Json& setting) {
  MediaSettings settings = media_preset(preset);
  EXPECT_EQ(settings.patch * settings.merge, setting[0].get<int64_t>());
  const bool clips = name.rfind("video", 0) == 0;
  (clips ? settings.video_min_pixels : settings.min_pixels) = setting[1];
  (clips ? settings.video_max_pixels : settings.max_pixels) = setting[2];
  return MediaProcessor(settings);
}

/// A clip of which every frame is kept.
ClipShape whole_clip(int64_t width, int64_t height, int64_t frames) {
  FrameSampling all;
  all.sample = false;
  return {width, height, sample_frames(frames, 2.0, all, "a clip")};
}

class NativeGeometry : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(NativeGeometry, ResizedSizes) {
  const auto& [folder, preset] = GetParam();
  const Json golden = golden_json(fmt::format("vlm/{}/preprocess_sizes.json", folder));
  for (const auto& [name, setting] : golden["settings_factor_min_max"].items()) {
    const MediaProcessor processor = with_bounds(preset, name, setting);
    const bool clips = name.rfind("video", 0) == 0;
    int64_t refused = 0;
    for (size_t i = 0; i < golden["sizes_wh"].size(); ++i) {
      const int64_t w = golden["sizes_wh"][i][0], h = golden["sizes_wh"][i][1];
      // Where the golden file names no frames, the rule is that of one frame.
      const int64_t frames = golden.contains("video_frames") ? golden["video_frames"][i].get<int64_t>() : 4;
      const auto plan = [&] {
        return clips ? processor.plan_video(whole_clip(w, h, frames)) : processor.plan_image(w, h);
      };
      const Json& expected = golden["resized_hw"][name][i];
      if (expected == "error") {
        EXPECT_THROW(plan(), InputError) << name << " " << w << "x" << h;
        ++refused;
      } else {
        EXPECT_EQ(Json(plan().resized_hw.back()), expected) << name << " " << w << "x" << h << " " << frames;
      }
    }
    EXPECT_GT(refused, 0) << name;
  }
}

TEST_P(NativeGeometry, ClipsCappedPerFrame) {
  const auto& [folder, preset] = GetParam();
  const Json golden = golden_json(fmt::format("vlm/{}/preprocess_sizes.json", folder));
  MediaSettings settings = media_preset(preset);
  settings.cap_pixels_per_frame = true;
  if (!golden.contains("video_hub_capped_patches")) {
    EXPECT_THROW(MediaProcessor{settings}, InputError) << preset;
    return;
  }
  const MediaProcessor processor(settings);
  int64_t compared = 0;
  for (size_t i = 0; i < golden["sizes_wh"].size(); ++i) {
    const Json& expected = golden["video_hub_capped_patches"][i];
    if (!expected.is_number()) continue;
    const MediaPlan plan = processor.plan_video(
        whole_clip(golden["sizes_wh"][i][0], golden["sizes_wh"][i][1], golden["video_frames"][i]));
    EXPECT_EQ(plan.grid_thw[0] * plan.grid_thw[1] * plan.grid_thw[2], expected.get<int64_t>()) << i;
    ++compared;
  }
  EXPECT_GT(compared, 150);
}

INSTANTIATE_TEST_SUITE_P(Families, NativeGeometry,
                         ::testing::Values(std::pair{"qwen2_vl", "qwen2-vl"},
                                           std::pair{"qwen2_5_vl", "qwen2.5-vl"},
                                           std::pair{"qwen3_vl", "qwen3-vl"},
                                           std::pair{"qwen3_5", "qwen3-vl"}, std::pair{"glm4v", "glm4v"}),
                         [](const auto& family) { return std::string(family.param.first); });

/// One plan a size of a golden file.
template <typename Check>
void over_sizes(const std::string& folder, const MediaProcessor& processor, const char* key,
                const Check& check) {
  const Json golden = golden_json(fmt::format("vlm/{}/preprocess_sizes.json", folder));
  ASSERT_EQ(golden["sizes_wh"].size(), 200u);
  for (size_t i = 0; i < 200; ++i) {
    const int64_t w = golden["sizes_wh"][i][0], h = golden["sizes_wh"][i][1];
    SCOPED_TRACE(fmt::format("{}x{}", w, h));
    const MediaPlan plan = processor.plan_image(w, h);
    check(plan, processor.report(plan), golden[key][i]);
  }
}

TEST(TiledGeometry, Internvl) {
  over_sizes("internvl", MediaProcessor(media_preset("internvl")), "tiles_cols_rows",
             [](const MediaPlan& plan, const Json& report, const Json& expected) {
               EXPECT_EQ(report["tiles_cols_rows"], expected);
               const int64_t tiles = expected[0].get<int64_t>() * expected[1].get<int64_t>();
               EXPECT_EQ(plan.tokens(), 256 * (tiles == 1 ? 1 : tiles + 1));
             });
}

TEST(TiledGeometry, IdeficsAndSmolvlm) {
  for (const auto& [folder, side] : {std::pair{"idefics3", 13}, std::pair{"smolvlm", 8}}) {
    over_sizes(folder, MediaProcessor(media_preset(folder)), "layout",
               [side = side](const MediaPlan& plan, const Json& report, const Json& expected) {
                 for (const char* key : {"first_hw", "second_hw", "rows_cols", "frames"}) {
                   EXPECT_EQ(report[key], expected[key]) << key;
                 }
                 EXPECT_EQ(plan.tokens(), expected["frames"].get<int64_t>() * side * side);
               });
  }
}

TEST(TiledGeometry, Gemma3PanAndScan) {
  over_sizes("gemma3", MediaProcessor(media_preset("gemma3")), "crops_hw",
             [](const MediaPlan& plan, const Json& report, const Json& expected) {
               EXPECT_EQ(report["crops_hw"], expected);
               EXPECT_EQ(plan.tokens(), 256 * static_cast<int64_t>(1 + expected.size()));
             });
}

TEST(TiledGeometry, Onevision) {
  over_sizes("llava_onevision", MediaProcessor(media_preset("llava-onevision")), "layout",
             [](const MediaPlan& plan, const Json& report, const Json& expected) {
               for (const char* key : {"best_hw", "H1W1", "newlines", "tokens"}) {
                 EXPECT_EQ(report[key], expected[key]) << key;
               }
               EXPECT_EQ(plan.newline_tokens(), expected["newlines"].get<int64_t>());
             });
}

TEST(TiledGeometry, Llava) {
  over_sizes("llava", MediaProcessor(media_preset("llava")), "layout",
             [](const MediaPlan& plan, const Json& report, const Json& expected) {
               EXPECT_EQ(report["resized_hw"], expected["resized_hw"]);
               EXPECT_EQ(report["crop_top_left"], expected["crop_top_left"]);
               EXPECT_EQ(plan.tokens(), 576);
             });
}

/// Each run's grid, its tokens, and the place of the tiles in the stitched grid.
TEST(TiledGeometry, RunsCoverTheStitchedGridOnce) {
  for (const std::string& preset : media_preset_names()) {
    const MediaProcessor processor(media_preset(preset));
    for (const auto& [w, h] :
         std::vector<std::array<int64_t, 2>>{{1000, 700}, {600, 1600}, {300, 310}, {1920, 1080}}) {
      const MediaPlan plan = processor.plan_image(w, h);
      std::vector<int> seen(static_cast<size_t>(plan.high_hw[0] * plan.high_hw[1]), 0);
      for (const MediaRun& run : plan.runs) {
        EXPECT_EQ(run.tokens, run.t * run.h * run.w + run.newlines);
        if (run.role != MediaRun::Role::kTile) continue;
        for (int64_t y = 0; y < run.h; ++y) {
          for (int64_t x = 0; x < run.w; ++x) {
            ++seen.at(static_cast<size_t>((run.row + y) * plan.high_hw[1] + run.column + x));
          }
        }
      }
      EXPECT_THAT(seen, ::testing::Each(1)) << preset << " " << w << "x" << h;
      // The grids show the whole picture, and both the same part of it.
      const auto& grid = plan.thumbnail_hw[0] > 0 ? plan.thumbnail_hw
                                                  : std::array<int64_t, 2>{plan.runs[0].h, plan.runs[0].w};
      if (preset == "llava") continue;
      EXPECT_NEAR(plan.cells.left + plan.cells.width * static_cast<double>(grid[1]), static_cast<double>(w),
                  1e-9);
      EXPECT_NEAR(plan.cells.top + plan.cells.height * static_cast<double>(grid[0]), static_cast<double>(h),
                  1e-9);
      if (plan.high_hw[0] == 0) continue;
      const double right =
          plan.high_cells.left + plan.high_cells.width * static_cast<double>(plan.high_hw[1]);
      const double bottom =
          plan.high_cells.top + plan.high_cells.height * static_cast<double>(plan.high_hw[0]);
      // A crop of gemma3, or a row of padding of llava_onevision, may go beyond by less than a cell.
      EXPECT_NEAR(right, static_cast<double>(w), plan.high_cells.width) << preset;
      EXPECT_NEAR(bottom, static_cast<double>(h), plan.high_cells.height) << preset;
    }
  }
}

TEST(TiledGeometry, PublicTokenCounts) {
  const auto tokens = [](const char* preset, int64_t w, int64_t h) {
    return MediaProcessor(media_preset(preset)).plan_image(w, h).tokens();
  };
  // 2227 and 862 positions of the sequence, of which 28 tags, row ends and the like are no pictures.
  EXPECT_EQ(tokens("internvl", 1000, 700), 1792);
  EXPECT_EQ(tokens("internvl", 600, 1600), 2816);
  EXPECT_EQ(tokens("idefics3", 1000, 700), 13 * 169);
  EXPECT_EQ(tokens("smolvlm", 1000, 700), 13 * 64);
  EXPECT_EQ(tokens("llava-onevision", 1000, 700), 4941);
  EXPECT_EQ(tokens("gemma3", 600, 1600), 1024);
}

TEST(FrameSampling, EqualsTheReference) {
  for (const auto& [folder, rule] :
       {std::pair{"qwen2_vl", SamplingRule::kEven}, std::pair{"qwen2_5_vl", SamplingRule::kEven},
        std::pair{"qwen3_vl", SamplingRule::kEnds}, std::pair{"qwen3_5", SamplingRule::kEnds}}) {
    const Json golden = golden_json(fmt::format("vlm/{}/preprocess_sizes.json", folder))["frame_sampling"];
    ASSERT_EQ(golden.size(), 40u);
    for (const Json& clip : golden) {
      FrameSampling sampling;
      sampling.rule = rule;
      sampling.rate = clip["asked_fps"];
      const SampledFrames found = sample_frames(clip["total_frames"], clip["fps"], sampling, "clip");
      ASSERT_EQ(found.indices.size(), clip["count"].get<size_t>()) << clip;
      const std::vector<int64_t> expected = clip["indices"];
      // All of them, or the first and the last twelve.
      const size_t half = found.indices.size() > expected.size() ? expected.size() / 2 : expected.size();
      for (size_t i = 0; i < expected.size(); ++i) {
        const size_t place = i < half ? i : found.indices.size() - expected.size() + i;
        EXPECT_EQ(found.indices[place], expected[i]) << clip;
      }
      if (clip.contains("sampled_fps")) {
        EXPECT_EQ(found.sampled_fps(), clip["sampled_fps"].get<double>());
        EXPECT_EQ(2.0 / found.sampled_fps(), clip["second_per_grid"].get<double>());
      }
      if (!clip.contains("timestamps")) continue;
      const MediaPlan plan = MediaProcessor(media_preset("qwen3-vl")).plan_video({64, 64, found});
      const std::vector<std::string> stamps = clip["timestamps"];
      const size_t stamp_half = plan.seconds.size() > stamps.size() ? stamps.size() / 2 : stamps.size();
      for (size_t i = 0; i < stamps.size(); ++i) {
        const size_t place = i < stamp_half ? i : plan.seconds.size() - stamps.size() + i;
        EXPECT_EQ(fmt::format("{:.1f}", plan.seconds[place]), stamps[i]) << clip << " " << i;
      }
    }
  }
}

TEST(FrameSampling, AFrameAtEachStepOfASecond) {
  FrameSampling sampling;
  sampling.rule = SamplingRule::kPerSecond;
  // 40 frames at 10 a second: round(3.9) + 1 seconds, every fifth frame, and no frame twice but the last.
  EXPECT_EQ(sample_frames(40, 10.0, sampling, "clip").indices,
            (std::vector<int64_t>{0, 5, 10, 15, 20, 25, 30, 35, 39, 39}));
  // Too long: two frames a second of the first 300 seconds' worth, over the whole of it.
  const SampledFrames long_clip = sample_frames(10000, 25.0, sampling, "clip");
  EXPECT_EQ(long_clip.indices.size(), 600u);
  EXPECT_EQ(long_clip.indices[1], 17);
  EXPECT_EQ(long_clip.indices.back(), 9999);
}

TEST(TiledGeometry, LlavaNextAsAPlan) {
  const AnyresOptions options{default_pinpoints(336), PinpointRule::kHf, 336, 14, true};
  for (const auto& [w, h] : std::vector<std::array<int64_t, 2>>{{640, 427}, {100, 900}, {1, 20000}}) {
    const AnyresGeometry geometry = anyres_geometry(w, h, options);
    const MediaPlan plan = anyres_plan(geometry, geometry.feat_H1W1, 336);
    EXPECT_EQ(plan.tokens(), geometry.tokens);
    EXPECT_EQ(plan.newline_tokens(), geometry.feat_H1W1[0]);
    EXPECT_EQ(plan.runs[0].tokens, 576);
    if (!geometry.feat_offset_rc) continue;
    EXPECT_NEAR(plan.high_cells.left + plan.high_cells.width * static_cast<double>(plan.high_hw[1]),
                static_cast<double>(w), plan.high_cells.width);
  }
}

TEST(FrameSampling, Refusals) {
  const FrameSampling sampling;
  EXPECT_THROW(sample_frames(0, 2.0, sampling, "clip"), InputError);
  EXPECT_THROW(sample_frames(kMostClipFrames + 1, 2.0, sampling, "clip"), InputError);
  EXPECT_THROW(sample_frames(10, 0.0, sampling, "clip"), InputError);
  EXPECT_THROW(sample_frames(10, std::nan(""), sampling, "clip"), InputError);
  EXPECT_THROW(sample_frames(1, 2.0, sampling, "clip"), InputError);  // less than one step of two frames
  FrameSampling all = sampling;
  all.sample = false;
  EXPECT_EQ(sample_frames(1, 2.0, all, "clip").indices.size(), 1u);
  EXPECT_THROW(sample_frames(kMostSampledFrames + 1, 2.0, all, "clip"), InputError);
  FrameSampling greedy = sampling;
  greedy.max_frames = int64_t{1} << 40;
  greedy.rate = 1e4;
  EXPECT_THROW(sample_frames(kMostClipFrames, 10.0, greedy, "clip"), InputError);
  FrameSampling endless = sampling;
  endless.rule = SamplingRule::kPerSecond;
  endless.rate = 1e4;
  endless.max_duration = 1e300;
  EXPECT_THROW(sample_frames(kMostClipFrames, 1e-3, endless, "clip"), InputError);
  greedy.max_frames = 1;
  EXPECT_THROW(sample_frames(10, 10.0, greedy, "clip"), InputError);
}

TEST(MediaGeometry, RefusesAbsurdSizes) {
  for (const std::string& preset : media_preset_names()) {
    const MediaProcessor processor(media_preset(preset));
    EXPECT_THROW(processor.plan_image(0, 5), InputError) << preset;
    EXPECT_THROW(processor.plan_image(5, -1), InputError) << preset;
    EXPECT_THROW(processor.plan_image((int64_t{1} << 24) + 1, 5), InputError) << preset;
    EXPECT_THROW(processor.plan_image(int64_t{1} << 62, int64_t{1} << 62), InputError) << preset;
    const int64_t large = int64_t{1} << 24;
    EXPECT_GT(processor.plan_image(large, large).tokens(), 0) << preset;
  }
  EXPECT_THROW(MediaProcessor(media_preset("llava")).plan_video(whole_clip(8, 8, 2)), InputError);
  EXPECT_THROW(MediaProcessor(media_preset("qwen3-vl")).plan_video(whole_clip(64, 64, 1)), InputError);
  EXPECT_THROW(media_preset("qwen4-vl"), UsageError);
}

TEST(MediaGeometry, RefusesSettingsThatCannotBe) {
  const auto refused = [](const char* preset, void (*spoil)(MediaSettings&)) {
    MediaSettings settings = media_preset(preset);
    spoil(settings);
    EXPECT_THROW(MediaProcessor{settings}, InputError) << preset;
  };
  refused("qwen2-vl", [](MediaSettings& s) { s.min_pixels = s.max_pixels + 1; });
  refused("qwen2-vl", [](MediaSettings& s) { s.patch = 0; });
  refused("qwen2-vl", [](MediaSettings& s) { s.video_max_pixels = int64_t{1} << 60; });
  refused("internvl", [](MediaSettings& s) { s.max_tiles = 1 << 20; });
  refused("internvl", [](MediaSettings& s) { s.tile = -1; });
  refused("idefics3", [](MediaSettings& s) { s.longest_edge = 1 << 20; });
  refused("gemma3", [](MediaSettings& s) { s.min_crop_ratio = std::nan(""); });
  refused("gemma3", [](MediaSettings& s) { s.min_crop = 0; });
  refused("llava", [](MediaSettings& s) { s.tile = s.shortest_edge + 1; });
  refused("llava-onevision", [](MediaSettings& s) { s.pinpoints = {{384, 100}}; });
  refused("llava-onevision", [](MediaSettings& s) { s.std[1] = 0.0; });
}

}  // namespace
}  // namespace ropescope
