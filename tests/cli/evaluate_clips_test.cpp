// `ropescope evaluate` on clips and on boxes, with tiny models of the families that see them.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/io/result_file.h"

#include "tests/cli/evaluate_runs.h"
#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class EvaluateClips : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_.path("clip"));
    fs::create_directories(folder_.path("half"));
    for (int i = 0; i < 8; ++i) {
      const std::string name = "frame" + std::to_string(i) + ".png";
      fs::copy_file(golden_path("vlm/images/" + name), folder_.path("clip/" + name));
      if (i >= 4) fs::copy_file(golden_path("vlm/images/" + name), folder_.path("half/" + name));
    }
  }

  void write_items(const std::vector<Json>& items) const {
    std::ofstream stream(folder_.path("items.jsonl"));
    for (const Json& item : items) stream << item.dump() << "\n";
  }

  static Json item(const std::string& question, const Json& video) {
    return {{"question", question}, {"options", {"a cup", "a cat"}}, {"answer", "B"}, {"video", video}};
  }

  CommandResult evaluate(const std::string& family, const std::string& benchmark, const std::string& output,
                         const std::string& more = "") const {
    return run_ropescope("evaluate --quiet --template qwen --model '" + golden_path("vlm/" + family) +
                         "' --profile current --benchmark " + benchmark + " --data '" +
                         folder_.path("items.jsonl") + "' --max-new-tokens 6 --output '" +
                         folder_.path(output) + "' " + more);
  }

  TemporaryFolder folder_;
};

TEST_F(EvaluateClips, QuestionsOnAClipAreAnsweredAsAlone) {
  write_items(
      {item("What moves?", "clip"), item("Which thing is it, then?", "clip"), item("And here?", "half")});
  for (const std::string family : {"qwen2_5_vl", "qwen3_vl", "glm4v"}) {
    SCOPED_TRACE(family);
    const auto run = evaluate(family, "lvbench", "run-" + family, "--fps 8");
    ASSERT_EQ(run.exit_code, 0) << run.err;
    const auto samples = samples_in(folder_.path("run-" + family));
    ASSERT_EQ(samples.size(), 3u);
    for (const Json& sample : samples) {
      const auto alone = run_ropescope(
          "generate --quiet --json --template qwen --max-new-tokens 6 --fps 8 --model '" +
          golden_path("vlm/" + family) + "' --video '" + folder_.path(sample.at("doc").at("video")) +
          "' --prompt '<video>\n" + sample.at("prompt").get<std::string>() + "'");
      ASSERT_EQ(alone.exit_code, 0) << alone.err;
      EXPECT_FALSE(sample.contains("error")) << sample.dump();
      EXPECT_EQ(sample.at("output"), Json::parse(alone.out).at("text"));
    }
    EXPECT_EQ(summary_in(folder_.path("run-" + family)).at("items"), 3);
  }
}

TEST_F(EvaluateClips, APieceIsTheClipThatWasCutOut) {
  Json piece = item("What moves?", "clip");
  piece["start"] = 0.5;  // of 8 frames at 8 a second: the last four
  write_items({piece, item("What moves?", "half")});
  for (const std::string family : {"qwen2_5_vl", "qwen3_vl"}) {
    SCOPED_TRACE(family);
    const auto run = evaluate(family, "lvbench", "run-" + family, "--fps 8 --batch-tokens 1");
    ASSERT_EQ(run.exit_code, 0) << run.err;
    const auto samples = samples_in(folder_.path("run-" + family));
    ASSERT_EQ(samples.size(), 2u);
    EXPECT_EQ(samples[0].at("output"), samples[1].at("output"));
  }
}

TEST_F(EvaluateClips, AFailureCountsAndARejectedRecordIsNamed) {
  fs::create_directories(folder_.path("broken"));
  folder_.write("broken/frame0.png", "no picture");
  Json beyond = item("Too late?", "clip");
  beyond["end"] = 99;
  write_items({item("What moves?", "clip"), item("Broken?", "broken"), beyond, item("Absent?", "nowhere"),
               item("No clip?", nullptr)});
  const auto run = evaluate("qwen3_vl", "lvbench", "run", "--fps 8 --json");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json summary = summary_in(folder_.path("run"));
  EXPECT_EQ(summary.at("items"), 4);
  EXPECT_EQ(summary.at("failed"), 2);
  ASSERT_EQ(summary.at("rejected").size(), 1u);
  EXPECT_THAT(summary.at("rejected")[0].at("error").get<std::string>(), HasSubstr("nowhere: no such clip"));
  EXPECT_EQ(summary.at("fps"), 8.0);
  EXPECT_THAT(run.err, HasSubstr("1 of 4 questions without a clip"));
  EXPECT_THAT(run.err, HasSubstr("is the clip cut out already?"));
  EXPECT_EQ(summary.at("counts"),
            (Json{{"asked", 4}, {"failed", 2}, {"rejected", 1}, {"unread", summary.at("no_answer")}}));
}

TEST_F(EvaluateClips, AFamilyWithoutClipsIsRefused) {
  write_items({item("What moves?", "clip")});
  const auto run = evaluate("internvl", "lvbench", "run");
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("1 question with clips"));
  EXPECT_FALSE(fs::exists(folder_.path("run")));
  EXPECT_EQ(evaluate("internvl", "lvbench", "blind", "--no-images").exit_code, 0);
}

TEST_F(EvaluateClips, SubtitlesOfTheClip) {
  const auto record = [](const Json& more) {
    Json doc = {{"question", "Who?"},    {"options", {"A. a", "B. b", "C. c", "D. d"}},
                {"answer", "B"},         {"duration", "short"},
                {"domain", "Knowledge"}, {"videoID", "v"},
                {"video", "clip"}};
    doc.update(more);
    return doc;
  };
  folder_.write("said.srt",
                "1\n00:00:00,000 --> 00:00:00,900\n<font color=\"white\" size=\".72c\">A cup.</font>\n");
  write_items({record({{"subtitle_path", "said.srt"}}), record(Json::object())});
  const auto run = evaluate("qwen3_vl", "videomme", "run", "--fps 8 --subtitles");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto samples = samples_in(folder_.path("run"));
  ASSERT_EQ(samples.size(), 2u);
  for (const Json& sample : samples) {
    const bool first = sample.at("record") == 1;
    EXPECT_THAT(sample.at("prompt").get<std::string>(),
                HasSubstr(first ? "listed below: \nA cup.\nSelect" : "No subtitles available\nSelect"));
  }
  EXPECT_EQ(summary_in(folder_.path("run")).at("subtitles"), true);
}

TEST_F(EvaluateClips, BoxesInTheNumbersOfTheFamily) {
  fs::copy_file(golden_path("vlm/images/cat.png"), folder_.path("cat.png"));
  write_items({{{"question_id", "1"},
                {"answer", "the cat"},
                {"bbox", {10, 10, 30, 20}},
                {"image", "cat.png"},
                {"split", "testA"}}});
  const std::map<std::string, std::string> scales = {
      {"qwen2_5_vl", "pixels"}, {"qwen3_vl", "thousand"}, {"llava_onevision", "unit"}};
  for (const auto& [family, scale] : scales) {
    SCOPED_TRACE(family);
    const auto run = evaluate(family, "refcoco+_rec", "run-" + family);
    ASSERT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(summary_in(folder_.path("run-" + family)).at("boxes"), scale);
    const Json sample = samples_in(folder_.path("run-" + family)).at(0);
    EXPECT_EQ(sample.at("doc").at("box_scale"), scale);
    EXPECT_EQ(sample.at("doc").contains("input_size"), scale == "pixels");
    EXPECT_TRUE(sample.at("doc").contains("image_size"));
    // `score` reads the samples in the numbers that they were asked in.
    const auto scored = run_ropescope("score --json --benchmark refcoco+_rec --items '" +
                                      folder_.path("run-" + family) + "/samples.jsonl'");
    ASSERT_EQ(scored.exit_code, 0) << scored.err;
    EXPECT_EQ(json_lines(scored.out).at(0).at("prompt"), sample.at("prompt"));
    EXPECT_EQ(json_lines(scored.out).at(0).at("extracted"), sample.at("extracted"));
  }
  // The picture as the model saw it is the one that `preprocess` tells.
  const auto told = run_ropescope("preprocess --json --model '" + golden_path("vlm/qwen2_5_vl") +
                                  "' --image '" + folder_.path("cat.png") + "'");
  ASSERT_EQ(told.exit_code, 0) << told.err;
  const Json sizes = json_lines(told.out).at(0).at("resized_hw");
  EXPECT_EQ(samples_in(folder_.path("run-qwen2_5_vl")).at(0).at("doc").at("input_size"),
            (Json{sizes[1], sizes[0]}));
}

}  // namespace
}  // namespace ropescope
