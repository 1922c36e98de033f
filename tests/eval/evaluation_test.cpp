// What is asked in which order, what a stopped run keeps, and data files read record by record.
#include "ropescope/eval/evaluation.h"

#include <fstream>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/eval/answerer.h"
#include "ropescope/eval/samples.h"

#include "tests/support/golden.h"
#include "tests/support/tiny_llava.h"

namespace ropescope::eval {
namespace {

using testing::golden_path;
using testing::TemporaryFolder;

std::string pope_line(const std::string& question, const std::string& image = "") {
  Json line = {{"question", question}, {"answer", "yes"}};
  if (!image.empty()) line["image"] = image;
  return line.dump() + "\n";
}

PlanOptions by_characters(int64_t batch_tokens) {
  PlanOptions options;
  options.batch_tokens = batch_tokens;
  options.count_tokens = [](const std::string& prompt) {
    return static_cast<int64_t>(prompt.find('\n'));  // the question without its closing string
  };
  return options;
}

TEST(Plan, LongestFirstAndPicturesTogether) {
  const TemporaryFolder folder;
  const auto records =
      open_records(folder.write("f.jsonl", pope_line("aa") + pope_line("bbbb", "x.png") +
                                               pope_line("cccccc") + pope_line("dddd", "y.png") + "{}\n" +
                                               pope_line("eee") + pope_line("f", "x.png")),
                   "pope");
  const Plan plan = plan_questions(*records, find_benchmark("pope"), {}, by_characters(12));
  EXPECT_EQ(plan.batches, (std::vector<Batch>{{2, 5}, {0}, {1, 6}, {3}}));
  EXPECT_EQ(plan.questions, 6);
  EXPECT_EQ(plan.with_pictures, 3);
  ASSERT_EQ(plan.rejected.size(), 1u);
  EXPECT_EQ(plan.rejected[0].record, 5);
  const Plan alone = plan_questions(*records, find_benchmark("pope"), {}, by_characters(1));
  EXPECT_EQ(alone.batches.size(), 6u);
}

TEST(Samples, AnUnfinishedLineIsAskedAgain) {
  const TemporaryFolder folder;
  const Benchmark& pope = find_benchmark("pope");
  const auto records = open_records(folder.write("f.jsonl", pope_line("a") + pope_line("b")), "pope");
  const std::string file = folder.path("samples.jsonl");
  {
    Samples samples(file, false);
    samples.append(make_sample(pope, {}, 2, records->doc(1), {1, "b", {}, 0}, {"no", 1}));
  }
  std::ofstream(file, std::ios::app) << "{\"record\":1,\"do";
  EXPECT_THROW(Samples(file, false), UsageError);
  Samples samples(file, true);
  EXPECT_TRUE(samples.done({2}));
  EXPECT_FALSE(samples.done({1}));
  samples.append(make_sample(pope, {}, 1, records->doc(0), {0, "a", {}, 0}, {"", 0, "out of memory"}));
  const Scores scores = score_samples(file, pope, {});
  EXPECT_EQ(scores.records, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(scores.items, 2);
  EXPECT_EQ(scores.failed, 1);
  EXPECT_EQ(scores.aggregates.at("all").at("accuracy"), 0);
}

TEST(Samples, OnlyAnswersOfOneWayAreHandedToAJudge) {
  const TemporaryFolder folder;
  Rules rules;
  rules.profile = Profile::kVlmEvalKit;
  const Benchmark& pope = benchmark_under(find_benchmark("pope"), rules.profile);
  const Json doc = {{"question", "Is it?"}, {"answer", "yes"}, {"category", "random"}};
  const auto handed = [&](const std::string& name, const Condition* condition) {
    Samples samples(folder.path(name), false);
    samples.append(make_sample(pope, rules, 1, doc, {0, "Is it?", {}, 0}, {"Perhaps.", 1}, condition));
    const auto scores = score_conditions(folder.path(name), pope, rules);
    EXPECT_EQ(scores.begin()->second.undecided, 1);
    return scores.begin()->second.for_judge.size();
  };
  EXPECT_EQ(handed("one.jsonl", nullptr), 1u);
  const Condition far = {"vanilla", 1024};
  EXPECT_EQ(handed("several.jsonl", &far), 0u);
}

TEST(Samples, OnlySeveralProcessesLeaveFilesOfTheirOwn) {
  const TemporaryFolder folder;
  { const Samples alone(samples_file(folder.path(""), 0, 1), false); }
  EXPECT_FALSE(has_rank_files(folder.path("")));
  { const Samples second(samples_file(folder.path(""), 1, 2), false); }
  EXPECT_TRUE(has_rank_files(folder.path("")));
}

TEST(Records, PicturesOfTheGoldenTable) {
  const auto records = open_records(golden_path("evaluation/mmbench_sample.tsv"), "mmbench");
  const Json golden =
      testing::golden_json("evaluation/mmbench_tsv.json").at("files").at("mmbench_sample.tsv");
  EXPECT_EQ(records->size(), golden.at("n_accepted").get<int64_t>());
  EXPECT_EQ(records->rejected().size(), golden.at("n_rejected").get<size_t>());
  std::map<int64_t, std::string> picture_of_index;
  for (int64_t i = 0; i < records->size(); ++i) {
    const Json& expected = golden.at("records").at(static_cast<size_t>(records->number(i) - 1));
    const Json doc = records->doc(i);
    EXPECT_EQ(doc.at("question"), expected.at("question"));
    EXPECT_FALSE(doc.contains("image"));
    const auto keys = records->pictures(i);
    ASSERT_EQ(keys.size(), 1u);
    picture_of_index[expected.at("index")] = records->picture(keys[0]);
    EXPECT_TRUE(find_benchmark("mmbench").prompt(doc, {}).is_string());
  }
  EXPECT_EQ(picture_of_index.at(3), picture_of_index.at(1));    // a reference
  EXPECT_EQ(picture_of_index.at(35), picture_of_index.at(36));  // a forward reference
}

/// Questions of a batch are asked alone where it fails together: what cannot be read is not read for each of them.
TEST(Answerer, APictureThatCannotBeReadIsReadOnce) {
  const TemporaryFolder folder;
  const auto tokenizer = load_tokenizer(testing::make_tiny_llava(folder));
  const Vlm vlm{};  // (nothing gets as far as its weights)
  Answerer answerer(vlm.decoder, &vlm, *tokenizer, {});
  int reads = 0;
  const auto bytes_of = [&](const std::string&) {
    ++reads;
    return std::string("no picture");
  };
  const auto ask = [&](const std::string& picture) {
    return answerer.answer({{0, "Is it red?", {picture}}, {1, "Is it blue?", {picture}}}, {}, bytes_of);
  };
  const auto answers = ask("x.png");
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_NE(answers[0].error.find("x.png"), std::string::npos) << answers[0].error;
  EXPECT_EQ(answers[1].error, answers[0].error);
  EXPECT_EQ(ask("x.png")[0].error, answers[0].error);
  EXPECT_EQ(reads, 1);
  EXPECT_NE(ask("y.png")[0].error.find("y.png"), std::string::npos);
  EXPECT_EQ(reads, 2);
}

TEST(Answerer, ImageMarksAreThoseOfTheHarness) {
  EXPECT_EQ(with_image_marks("What?", 0), "What?");
  EXPECT_EQ(with_image_marks("What?", 2), "<image> <image>\nWhat?");
  EXPECT_EQ(with_image_marks("Is <image> red?", 1), "Is <image> red?");
}

}  // namespace
}  // namespace ropescope::eval
