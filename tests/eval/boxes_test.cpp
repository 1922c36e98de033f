// Boxes as models write them: forms, scales, and lmms-eval 0.7.3's choice of the better one.
#include <gtest/gtest.h>

#include "ropescope/architectures/vlm_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/box_text.h"

#include "tests/eval/golden_items.h"
#include "tests/support/refusal.h"

namespace ropescope::eval {
namespace {

/// Of a picture of 640 x 480 pixels, which the model saw as 644 x 476.
Json doc_of(const char* scale) {
  return {{"answer", "the cup"},
          {"bbox", {128, 96, 256, 192}},
          {"image_size", {640, 480}},
          {"input_size", {644, 476}},
          {"box_scale", scale}};
}

Reading read(const char* scale, const std::string& output, BoxScale rule = BoxScale::kAuto) {
  Rules rules;
  rules.profile = Profile::kCurrent;
  rules.boxes = rule;
  return find_benchmark("refcoco_rec").read(doc_of(scale), output, rules);
}

TEST(MarkedBoxes, FormsOfOneBox) {
  const Box box = {10, 20, 30, 40};
  for (const char32_t* text : {
           U"[10, 20, 30, 40]",
           U"[[10,20,30,40]]",
           U"```json\n[{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"the cup\"}]\n```",
           U"{\"bbox_2d\": [ 10 , 20 , 30 , 40 ]}",
           U"{\"label\": \"cup [1]\", \"bbox_2d\": [10, 20, 30, 40], \"score\": [0.9]}",
           U"[{\"bbox_2d\": [10, 20, 30, 40]}, {\"bbox_2d\": [1, 2, 3, 4]}]",
           U"```json\n[{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"the c",  // cut off
           U"<|box_start|>(10,20),(30,40)<|box_end|>",
           U"<ref>cup (of 2)</ref><box>[[10, 20, 30, 40]]</box>",
           U"The cup (1) is at (10, 20), (30, 40).",
       }) {
    const auto found = read_marked_box(text);
    ASSERT_TRUE(found) << to_utf8(text);
    EXPECT_EQ(*found, box) << to_utf8(text);
  }
  for (const char32_t* text :
       {U"", U"10 20 30 40", U"[10, 20, 30]", U"[10, 20, 30, 40, 50]", U"(10, 20)", U"[10, 20, 30, 4"}) {
    EXPECT_FALSE(read_marked_box(text)) << to_utf8(text);
  }
}

TEST(BoxScales, TheSameBoxInEach) {
  // The truth, 128..384 of 640 and 96..288 of 480, is 0.2..0.6 of either side.
  const struct {
    const char* scale;
    const char* output;
  } answers[] = {{"unit", "[0.2, 0.2, 0.6, 0.6]"},
                 {"thousand", R"({"bbox_2d": [200, 200, 600, 600]})"},
                 {"pixels", R"([{"bbox_2d": [128.8, 95.2, 386.4, 285.6], "label": "cup"}])"},
                 {"better", R"({"bbox_2d": [128, 96, 384, 288]})"},
                 {"better", R"({"bbox_2d": [200, 200, 600, 600]})"}};
  for (const auto& [scale, output] : answers) {
    const Reading reading = read(scale, output);
    EXPECT_NEAR(reading.score, 1, 1e-12) << scale;
    EXPECT_FALSE(reading.unreadable) << scale;
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(reading.extracted[i].get<double>(), i < 2 ? 0.2 : 0.6, 1e-12);
  }
  // Pixels of the file's picture are not those of the picture that the model saw.
  EXPECT_LT(read("pixels", "[128, 96, 384, 288]").score, 0.99);
  // A named scale stands above the record's.
  EXPECT_NEAR(read("unit", "[200, 200, 600, 600]", BoxScale::kThousand).score, 1, 1e-12);
}

TEST(BoxScales, ABoxOfAnotherScaleIsUnreadable) {
  const struct {
    const char* scale;
    const char* output;
  } wrong[] = {{"unit", "[200, 200, 600, 600]"},
               {"unit", "[0, 0, 600, 600]"},
               {"thousand", "[0.2, 0.2, 0.6, 0.6]"},
               {"thousand", "[128, 96, 1200, 288]"},
               {"thousand", "[-5, 96, 384, 288]"},
               {"pixels", "[0.2, 0.2, 0.6, 0.6]"},
               {"pixels", "[700, 96, 900, 288]"},
               {"pixels", "[1, 480, 9, 490]"},
               {"pixels", "the cup on the left"},
               {"thousand", "200 200 600 600"},
               {"better", "the cup"}};
  for (const auto& [scale, output] : wrong) {
    const Reading reading = read(scale, output);
    EXPECT_TRUE(reading.unreadable) << scale << " " << output;
    EXPECT_LT(reading.score, 1e-3) << scale << " " << output;
  }
  // A box that ends a little outside of the picture is a box.
  EXPECT_FALSE(read("pixels", "[500, 300, 650, 480]").unreadable);
}

TEST(BoxScales, WhatARecordLacksIsNamed) {
  Json doc = doc_of("pixels");
  doc.erase("input_size");
  EXPECT_THROW(find_benchmark("refcoco_rec").read(doc, "[1, 2, 3, 4]", {}), InputError);
  doc = doc_of("inches");
  EXPECT_THROW(find_benchmark("refcoco_rec").read(doc, "[1, 2, 3, 4]", {}), InputError);
  EXPECT_THROW(parse_box_scale("percent"), UsageError);
}

TEST(BoxScales, BetterIsARuleOfOneProfile) {
  const Benchmark& refcoco = find_benchmark("refcoco_rec");
  const std::string answer = R"({"bbox_2d": [200, 200, 600, 600]})";
  Rules rules;
  rules.profile = Profile::kPaper;
  const std::string why = testing::refusal_of([&] { refcoco.read(doc_of("better"), answer, rules); });
  EXPECT_NE(why.find("--profile current"), std::string::npos) << why;
  rules.boxes = BoxScale::kBetter;
  EXPECT_THROW(check_rules(refcoco, rules), UsageError);
  rules.profile = Profile::kCurrent;
  EXPECT_NO_THROW(check_rules(refcoco, rules));
  EXPECT_EQ(read("better", answer).score, read("better", answer, BoxScale::kBetter).score);
}

TEST(BoxScales, EveryFamilyHasOne) {
  std::map<BoxScale, int> families;
  for (const VlmFamily* family : vlm_families()) ++families[box_scale_of_family(family->name)];
  // Qwen2.5-VL; Qwen2-VL, Qwen3-VL, Qwen3.5, GLM-4V and InternVL; the others are asked for shares.
  EXPECT_EQ(families[BoxScale::kPixels], 1);
  EXPECT_EQ(families[BoxScale::kThousand], 5);
  EXPECT_EQ(families.count(BoxScale::kAuto), 0u);
}

TEST(BoxScales, TheQuestionGoesWithTheScale) {
  const Benchmark& benchmark = find_benchmark("refcocog_rec");
  Rules rules;
  EXPECT_NE(benchmark.prompt({{"answer", "the cup"}}, rules).get<std::string>().find("between 0 and 1"),
            std::string::npos);
  EXPECT_EQ(benchmark.longest_answer(rules), 32);
  rules.boxes = BoxScale::kPixels;
  EXPECT_EQ(
      benchmark.prompt({{"answer", "the cup"}}, rules),
      "Locate every object that matches the description \"the cup\" in the image. Report bbox coordinates in "
      "JSON format.");
  EXPECT_EQ(benchmark.longest_answer(rules), 512);
}

TEST(HarnessBoxes, AllOfTheGoldenFile) {
  const Json golden = testing::golden_json("evaluation/refcoco_grounding.json");
  const Benchmark& benchmark = find_benchmark("refcoco_rec");
  Rules rules;
  rules.profile = Profile::kCurrent;
  rules.boxes = BoxScale::kBetter;
  const auto tally = benchmark.tally(rules);
  for (const Json& item : golden.at("items")) {
    const std::string where = item.at("branch").get<std::string>();
    const auto output = item.at("output").get<std::string>();
    EXPECT_EQ(benchmark.prompt(item.at("doc"), rules), item.at("prompt")) << where;
    expect_close(Json(harness_boxes(from_utf8(output))), item.at("expected").at("boxes"), where + " boxes");
    const Reading reading = benchmark.read(item.at("doc"), output, rules);
    expect_close(reading.extracted, item.at("expected").at("box"), where);
    expect_close(Json(reading.score), item.at("expected").at("iou"), where + " iou");
    EXPECT_EQ(reading.unreadable, item.at("expected").at("boxes").empty()) << where;
    tally->add(item.at("doc"), reading);
  }
  expect_close(tally->aggregates(), golden.at("aggregates"), "aggregates");
}

}  // namespace
}  // namespace ropescope::eval
