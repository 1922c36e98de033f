// `ropescope attention` on clips: each group of frames is a map of its own.
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

TEST(AttentionClips, EveryGroupOfFramesIsAMap) {
  TemporaryFolder folder;
  const fs::path clip = folder.path("clip");
  fs::create_directories(clip);
  for (int i = 0; i < 8; ++i) {
    const std::string name = "frame" + std::to_string(i) + ".png";
    fs::copy_file(golden_path("vlm/images/" + name), clip / name);
  }
  // Qwen2.5-VL's clip is one block, Qwen3-VL's frame groups stand apart. Qwen3-VL keeps 4 of 8 frames: 2 groups.
  for (const std::string family : {"qwen2_5_vl", "qwen3_vl"}) {
    SCOPED_TRACE(family);
    const std::string maps = folder.path("maps-" + family), out = folder.path(family + ".h5");
    const CommandResult result = run_ropescope(
        "attention --quiet --model '" + golden_path("vlm/" + family) + "' --video '" + clip.string() +
        "' --fps 8 --template qwen --prompt 'What moves?' --queries last --plot '" + maps + "' --output '" +
        out + "'");
    ASSERT_EQ(result.exit_code, 0) << result.err;
    std::ostringstream text;
    text << std::ifstream(maps + "/last-to-thumbnail.svg").rdbuf();
    EXPECT_THAT(text.str(), HasSubstr("frame 1"));
    EXPECT_THAT(text.str(), Not(HasSubstr("thumbnail")));
    const ResultReader file(out);
    const Json clips =
        parse_json(std::get<std::string>(file.attribute("/attention/inputs/0", "clips")), "clips");
    EXPECT_EQ(clips.at(0)["source_fps"], 8.0);
    EXPECT_EQ(clips.at(0)["total_frames"], 8);
    EXPECT_EQ(clips.at(0)["frames"], family == "qwen3_vl" ? 4 : 8);
    EXPECT_TRUE(file.has("/attention/inputs/0/picture-0"));
    EXPECT_EQ(file.has("/attention/inputs/0/picture-1"), family == "qwen3_vl");
  }
}

}  // namespace
}  // namespace ropescope
