// Clips from files and from folders.
#include "ropescope/vision/video.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/randint.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/vision/encode.h"
#include "ropescope/vision/image.h"
#include "ropescope/vision/media_processor.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"
#include "tests/vision/video_files.h"

namespace ropescope {
namespace {

using testing::golden_path;
using ::testing::HasSubstr;
using testing::refusal_of;
using testing::TemporaryFolder;
using testing::write_video;

std::vector<at::Tensor> golden_frames() {
  std::vector<at::Tensor> frames;
  for (int i = 0; i < 8; ++i) {
    frames.push_back(read_image(golden_path(fmt::format("vlm/images/frame{}.png", i))).rgb_HW3);
  }
  return frames;
}

TEST(Video, FramesOfALosslessFileAreExact) {
  const TemporaryFolder folder;
  const std::vector<at::Tensor> frames = golden_frames();
  for (const char* name : {"clip.mkv", "clip.avi"}) {
    const std::string path = folder.path(name);
    write_video(path, frames);
    const auto clip = open_clip(path);
    EXPECT_EQ(clip->total_frames(), 8);
    EXPECT_EQ(clip->width(), frames[0].size(1));
    EXPECT_EQ(clip->height(), frames[0].size(0));
    EXPECT_DOUBLE_EQ(clip->fps(), 25.0);
    EXPECT_EQ(clip->rotation(), 0);
    EXPECT_LT(clip->drift(), 1e-3);  // Matroska counts milliseconds
    EXPECT_NEAR(clip->seconds()[5], 0.2, 1e-3);
    const auto found = clip->frames({0, 3, 3, 7, 8});
    ASSERT_EQ(found.size(), 5u);
    const std::vector<size_t> expected = {0, 3, 3, 7, 7};
    for (size_t i = 0; i < found.size(); ++i)
      EXPECT_TRUE(found[i].equal(frames[expected[i]])) << name << " " << i;
    EXPECT_TRUE(clip->frames({}).empty());
    EXPECT_EQ(open_clip(path, 10.0)->fps(), 10.0);
  }
}

TEST(Video, FramesThatAreStoredInAnotherOrder) {
  const TemporaryFolder folder;
  std::vector<at::Tensor> frames;
  // Smooth grey ramps, of which every frame is brighter than the one before.
  for (int64_t i = 0; i < 12; ++i)
    frames.push_back(at::randint(0, 2, {48, 64, 3}, at::kByte).mul_(2).add_(20 + 15 * i));
  testing::VideoOptions options;
  options.codec = "mpeg4";
  options.rate_numerator = 30000;
  options.rate_denominator = 1001;
  const std::string path = folder.path("clip.mp4");
  write_video(path, frames, options);
  const auto clip = open_clip(path);
  ASSERT_EQ(clip->total_frames(), 12);
  EXPECT_NEAR(clip->fps(), 30000.0 / 1001.0, 1e-9);
  EXPECT_LT(clip->drift(), 1e-4);
  std::vector<int64_t> all;
  for (int64_t i = 0; i < 12; ++i) all.push_back(i);
  const auto found = clip->frames(all);
  for (size_t i = 0; i < 12; ++i) {
    const double difference =
        at::abs(found[i].to(at::kDouble) - frames[i].to(at::kDouble)).mean().item<double>();
    EXPECT_LT(difference, 4.0) << i;  // a frame away it would be 15
  }
  EXPECT_TRUE(clip->frames({7})[0].equal(found[7]));
}

TEST(Video, ATimeThatTheRateDoesNotTell) {
  const TemporaryFolder folder;
  testing::VideoOptions options;
  options.ticks = {0, 1, 2, 30, 31, 32, 33, 34};
  const std::string path = folder.path("clip.mkv");
  write_video(path, golden_frames(), options);
  const auto clip = open_clip(path, 25.0);
  EXPECT_NEAR(clip->seconds()[3], 30.0 / 25.0, 1e-3);
  EXPECT_NEAR(clip->drift(), 27.0 / 25.0, 1e-3);
}

TEST(Video, AFolderOfFrames) {
  const TemporaryFolder folder;
  const std::vector<at::Tensor> frames = golden_frames();
  for (size_t i = 0; i < 8; ++i) folder.write(fmt::format("clip/frame{}.png", i + 5), encode_png(frames[i]));
  folder.write("clip/notes.txt", "no picture");
  const auto clip = open_clip(folder.path("clip"), 2.5);
  EXPECT_EQ(clip->total_frames(), 8);  // frame5 ... frame9, frame10, ...
  EXPECT_EQ(clip->fps(), 2.5);
  EXPECT_EQ(clip->seconds()[2], 0.8);
  const auto found = clip->frames({0, 5, 7, 9});
  EXPECT_TRUE(found[0].equal(frames[0]));
  EXPECT_TRUE(found[1].equal(frames[5]));
  EXPECT_TRUE(found[3].equal(frames[7]));
  EXPECT_THROW(open_clip(folder.path("clip")), UsageError);
  EXPECT_THROW(open_clip(folder.path("clip"), 0.0), UsageError);
  folder.write("clip/frame6.png", encode_png(frames[0].slice(0, 0, 10)));
  EXPECT_THAT(refusal_of([&] {
                open_clip(folder.path("clip"), 2.5)->frames({0, 1});
              }),
              HasSubstr("frame6.png"));
  std::filesystem::create_directory(folder.path("empty"));
  EXPECT_THAT(refusal_of([&] { open_clip(folder.path("empty"), 1.0); }), HasSubstr("found none"));
}

/// From a file to a model's tensors: those of the golden case, whose frames are these.
TEST(Video, FromAFileToTensors) {
  const TemporaryFolder folder;
  testing::VideoOptions options;
  options.rate_numerator = 3;
  options.rate_denominator = 4;
  const std::string path = folder.path("clip.mkv");
  write_video(path, golden_frames(), options);
  const auto clip = open_clip(path);
  EXPECT_NEAR(clip->fps(), 0.75, 1e-6);
  const MediaProcessor processor = read_media_processor(golden_path("vlm/qwen3_vl"));
  const SampledFrames sampled =
      sample_frames(clip->total_frames(), clip->fps(), processor.settings().sampling, clip->name());
  const MediaItem item = processor.video(clip->frames(sampled.indices), sampled);
  const auto golden = testing::golden_tensors("vlm/qwen3_vl/expected.safetensors");
  EXPECT_TRUE(
      testing::all_close(item.pixel_values, golden.at("image_video.pixel_values_videos"), 2.02 / 127.5));
}

TEST(Video, RefusesDamagedAndForeignFiles) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& name, const std::string& content) {
    const std::string path = folder.write(name, content);
    return refusal_of([&] {
      const auto clip = open_clip(path);
      clip->frames({clip->total_frames() - 1});
    });
  };
  EXPECT_THAT(refused("text.mp4", "not a video at all"), HasSubstr("text.mp4: expected a video"));
  EXPECT_THAT(refused("empty.mp4", ""), HasSubstr("expected a video"));
  // A playlist would open other files.
  EXPECT_THAT(refused("list.m3u8", "#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n"),
              HasSubstr("expected a video"));
  EXPECT_THAT(refused("list.txt", "ffconcat version 1.0\nfile /etc/passwd\n"), HasSubstr("expected a video"));
  EXPECT_THAT(refused("picture.png", read_file(golden_path("vlm/images/cat.png"))),
              HasSubstr("expected a video"));
  const std::string path = folder.path("clip.mp4");
  testing::VideoOptions options;
  options.codec = "mpeg4";
  write_video(path, golden_frames(), options);
  const std::string whole = read_file(path);
  EXPECT_THAT(refused("half.mp4", whole.substr(0, whole.size() / 2)), ::testing::Not(::testing::IsEmpty()));
  EXPECT_THROW(open_clip(folder.path("missing.mp4")), InputError);
}

/// Whatever is wrong in a file, it is refused or read, and nothing else happens.
TEST(Video, SpoiledBytes) {
  const TemporaryFolder folder;
  for (const auto& [name, codec] : {std::pair{"clip.mkv", "ffv1"}, std::pair{"clip.mp4", "mpeg4"}}) {
    testing::VideoOptions options;
    options.codec = codec;
    write_video(folder.path(name), golden_frames(), options);
    const std::string whole = read_file(folder.path(name));
    int64_t read = 0, refused = 0;
    for (size_t i = 0; i < 120; ++i) {
      std::string spoiled = whole;
      for (size_t k = 0; k < 1 + i % 8; ++k)
        spoiled[(i * 7919 + k * 104729) % whole.size()] ^= static_cast<char>(1 + i);
      const std::string path = folder.write(std::string("spoiled-") + name, spoiled);
      try {
        const auto clip = open_clip(path);
        clip->frames({0, clip->total_frames() - 1});
        ++read;
      } catch (const Error&) {
        ++refused;
      }
    }
    EXPECT_EQ(read + refused, 120);
    EXPECT_GT(refused, 0) << name;
  }
}

}  // namespace
}  // namespace ropescope
