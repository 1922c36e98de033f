// Clips of records, pieces of them, their subtitles, and how questions on one clip count.
#include "ropescope/eval/clips.h"

#include <cmath>
#include <fstream>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/random.h"
#include "ropescope/eval/records.h"
#include "ropescope/eval/subtitles.h"
#include "ropescope/eval/units.h"

#include "tests/support/golden.h"

namespace ropescope::eval {
namespace {

using testing::TemporaryFolder;

TEST(ClipsOfRecords, NamesInEveryColumn) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path("data"));
  const std::string a = folder.write("a.mp4", "a"), b = folder.write("b.mp4", "b"),
                    c = folder.write("data/c.mkv", "c");
  const auto files = [&](const Json& record) {
    std::vector<std::string> names;
    for (const ClipPart& clip : clips_of(record, folder.path(""))) names.push_back(clip.file.filename());
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(files({{"video", "a.mp4"}}), Names{"a.mp4"});
  EXPECT_EQ(files({{"video", {"b.mp4", "a.mp4"}}}), (Names{"b.mp4", "a.mp4"}));
  EXPECT_EQ(files({{"video_path", "a.mp4"}}), Names{"a.mp4"});
  EXPECT_EQ(files({{"video_name", "b.mp4"}}), Names{"b.mp4"});
  EXPECT_EQ(files({{"videoID", "c"}}), Names{"c.mkv"});
  EXPECT_EQ(files({{"video", nullptr}, {"question", "?"}}), Names{});
  EXPECT_EQ(clips_of({{"video", "a.mp4"}, {"start", 1.5}, {"end", "4"}}, folder.path("")),
            (std::vector<ClipPart>{{folder.path("") + "/a.mp4", 1.5, 4.0}}));
  for (const Json& wrong : std::vector<Json>{{{"video", "none.mp4"}},
                                             {{"video", 3}},
                                             {{"video", ""}},
                                             {{"videoID", "none"}},
                                             {{"video", "a.mp4"}, {"start", "soon"}},
                                             {{"video", "a.mp4"}, {"start", -1}},
                                             {{"video", "a.mp4"}, {"start", 4}, {"end", 4}},
                                             {{"video", {"a.mp4", "b.mp4"}}, {"end", 4}}}) {
    EXPECT_THROW(clips_of(wrong, folder.path("")), InputError) << wrong.dump();
  }
}

TEST(ClipsOfRecords, APieceIsSampledAsAClipOfItsLength) {
  FrameSampling sampling;
  sampling.rate = 2;
  for (const auto rule : {SamplingRule::kEven, SamplingRule::kEnds, SamplingRule::kPerSecond}) {
    sampling.rule = rule;
    // 250 frames at 25 a second; seconds 2 to 6 are the frames 50 to 150.
    const PartFrames piece = frames_of_part({"c.mp4", 2.0, 6.0}, 250, 25, sampling, "c.mp4");
    const SampledFrames alone = sample_frames(101, 25, sampling, "alone");
    ASSERT_EQ(piece.within.indices, alone.indices);
    ASSERT_EQ(piece.indices.size(), alone.indices.size());
    for (size_t i = 0; i < piece.indices.size(); ++i) {
      EXPECT_EQ(piece.indices[i], 50 + std::min<int64_t>(alone.indices[i], 100));
    }
    EXPECT_EQ(piece.within.seconds(0), 0) << "times count from the piece's start";
  }
  // Without one of the two ends the clip's own counts; published times may lie a little behind the last frame.
  EXPECT_EQ(frames_of_part({"c", 9.0, {}}, 250, 25, sampling, "c").within.total, 25);
  EXPECT_EQ(frames_of_part({"c", {}, 1.0}, 250, 25, sampling, "c").within.total, 26);
  EXPECT_EQ(frames_of_part({"c", 9.0, 10.4}, 250, 25, sampling, "c").within.total, 25);
  EXPECT_THROW(frames_of_part({"c", 8.0, 11.0}, 250, 25, sampling, "c"), InputError);
  EXPECT_THROW(frames_of_part({"c", 10.2, {}}, 250, 25, sampling, "c"), InputError);
}

TEST(Subtitles, AsThePackagePutsThemIntoThePrompt) {
  const Json golden = testing::golden_json("evaluation/videomme.json");
  Rules rules;
  rules.subtitles = true;
  for (const Json& item : golden.at("subtitles")) {
    const std::string where = item.at("branch").get<std::string>();
    std::string text = kNoSubtitles;
    if (item.at("srt").is_string()) {
      text = shown_subtitles(parse_subtitles(item.at("srt"), where), item.at("frames"), item.at("fps"));
    }
    EXPECT_EQ(text, item.at("text").get<std::string>()) << where;
    if (!item.contains("prompt")) continue;
    Json doc = golden.at("subtitle_doc");
    doc["subtitles"] = text;
    EXPECT_EQ(find_benchmark("videomme").prompt(doc, rules), item.at("prompt")) << where;
  }
  EXPECT_THROW(find_benchmark("videomme").prompt(golden.at("subtitle_doc"), rules), InputError);
}

TEST(Subtitles, TheOrderOfPythonsSets) {
  for (const Json& list : testing::golden_json("evaluation/videomme.json").at("set_order")) {
    EXPECT_EQ(python_set_order(list[0].get<std::vector<size_t>>()), list[1].get<std::vector<size_t>>());
  }
}

TEST(Subtitles, OtherWritings) {
  const auto lines = parse_subtitles(
      "\xEF\xBB\xBF"
      "1\r\n00:00:01,500 --> 01:00:02,000\r\nHello\r\nthere\r\n\r\n\r\n2\r\n"
      "00:00:03,000 --> 00:00:04,000\r\nYou\r\n\r\n3\r\n",
      "s.srt");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].text, "Hello there");
  EXPECT_EQ(lines[0].start, 1.5);
  EXPECT_EQ(lines[0].end, 3602);
  EXPECT_EQ(lines[1].text, "You");
  EXPECT_THROW(parse_subtitles("1\n0:1 --> 0:2\nx\n", "s.srt"), InputError);
  EXPECT_THROW(parse_subtitles("1\n00:00:01,000\nx\n", "s.srt"), InputError);
}

/// Scores of questions on clips, clip after clip.
UnitScores units_of(const std::vector<std::vector<double>>& clips) {
  UnitCollector units(find_benchmark("lvbench"));
  int64_t record = 0;
  for (size_t clip = 0; clip < clips.size(); ++clip) {
    for (const double score : clips[clip]) {
      units.add(++record, {{"video_path", "clip" + std::to_string(clip)}}, score);
    }
  }
  return units.scores();
}

TEST(Clusters, TheFigureIsTheQuestionsMeanAndTheIntervalIsTheClips) {
  const Benchmark& benchmark = find_benchmark("lvbench");
  // Clips of 2 to 20 questions that are right or wrong as a whole.
  std::vector<std::vector<double>> clips;
  Rng rng = make_rng(3, {1});
  double right = 0, questions = 0;
  for (int i = 0; i < 60; ++i) {
    const size_t size = 2 + rng() % 19;
    const double value = rng() % 2 == 0 ? 1 : 0;
    clips.emplace_back(size, value);
    right += value * static_cast<double>(size);
    questions += static_cast<double>(size);
  }
  const UnitScores units = units_of(clips);
  ASSERT_EQ(units.size(), clips.size());
  const double mean = right / questions;
  // Linearised variance of the ratio of two sums over clips (Cochran 1977, 6.13).
  double variance = 0;
  for (const auto& clip : clips) {
    const double size = static_cast<double>(clip.size()), residual = size * (clip.front() - mean);
    variance += residual * residual;
  }
  const double count = static_cast<double>(clips.size());
  const double half = 196 * std::sqrt(variance * count / (count - 1)) / questions;
  const Interval interval = figure_interval(benchmark, units, 0);
  EXPECT_NEAR(interval.low, 100 * mean - half, 0.15 * half);
  EXPECT_NEAR(interval.high, 100 * mean + half, 0.15 * half);
  // As if questions were on their own it would be less than half as wide.
  const double naive = 196 * std::sqrt(mean * (1 - mean) / questions);
  EXPECT_GT(interval.high - interval.low, 4 * naive);
  const PairedDifference none = paired_difference(benchmark, units, units, 0);
  EXPECT_EQ(none.difference, 0);
  EXPECT_FALSE(none.p) << "McNemar's test is for questions on their own";
}

}  // namespace
}  // namespace ropescope::eval
