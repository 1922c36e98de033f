// Records of VLMEvalKit's tables in the benchmarks' own columns, and records that are another benchmark's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/eval/evaluation.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope::eval {
namespace {

using ::testing::HasSubstr;

Json doc_of(const std::string& benchmark, const Json& record) {
  return own_columns(find_benchmark(benchmark), record);
}
std::string prompt_of(const std::string& benchmark, const Json& record) {
  return find_benchmark(benchmark).prompt(doc_of(benchmark, record), {}).get<std::string>();
}
double score_of(const std::string& benchmark, const Json& record, const std::string& output) {
  return find_benchmark(benchmark).read(doc_of(benchmark, record), output, {}).score;
}
/// Why a record cannot be asked; empty if it can.
std::string refusal(const std::string& benchmark, const Json& record) {
  const testing::TemporaryFolder folder;
  const auto records = open_records(folder.write("f.jsonl", record.dump() + "\n"), benchmark);
  try {
    checked_question(*records, find_benchmark(benchmark), {}, 0, true);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

const Json kRow = {{"index", "0"}, {"question", "Which way?"},
                   {"A", "Left"},  {"B", "Straight"},
                   {"C", "Right"}, {"answer", "C"}};

Json row_with(const Json& changes) {
  Json row = kRow;
  row.update(changes);
  return row;
}

TEST(PublishedForms, OptionsInColumnsStandWhereTheDataSetHasThem) {
  EXPECT_EQ(
      prompt_of("realworldqa", kRow),
      "Which way?\n\nA. Left\nB. Straight\nC. Right\nPlease answer directly with only the letter of the "
      "correct option and nothing else.");
  EXPECT_EQ(score_of("realworldqa", kRow, "C"), 1);
  EXPECT_EQ(score_of("realworldqa", kRow, "Right"), 1);
  EXPECT_EQ(
      prompt_of("mmstar", kRow),
      "Which way?\nOptions: A: Left, B: Straight, C: Right\nAnswer with the option's letter from the given "
      "choices directly");
  const std::string listed = "Which way?\nA. Left\nB. Straight\nC. Right\n";
  const std::string request = "Answer with the option's letter from the given choices directly.";
  EXPECT_EQ(prompt_of("ai2d", kRow), listed + request);
  EXPECT_EQ(prompt_of("scienceqa_img", kRow), listed + request);
  EXPECT_EQ(prompt_of("mmmu_mc", kRow), listed + "\n" + request);
  EXPECT_EQ(prompt_of("seedbench_2_plus", row_with({{"D", "Back"}, {"category", "map"}})),
            "Which way?\nA. Left\nB. Straight\nC. Right\nD. Back\n" + request);
  for (const char* benchmark : {"ai2d", "scienceqa_img", "mmmu_mc"}) {
    EXPECT_EQ(score_of(benchmark, kRow, "C"), 1) << benchmark;
    EXPECT_EQ(score_of(benchmark, kRow, "B"), 0) << benchmark;
  }
}

TEST(PublishedForms, AreOwnColumnsWhenTheyAreReadAgain) {
  for (const char* benchmark :
       {"realworldqa", "mmstar", "ai2d", "scienceqa_img", "mmmu_mc", "seedbench_2_plus"}) {
    const Json once = doc_of(benchmark, row_with({{"D", "Back"}}));
    EXPECT_EQ(doc_of(benchmark, once), once) << benchmark;
  }
}

TEST(PublishedForms, OptionsThatTheQuestionHasAlreadyAreNotAddedTwice) {
  const Json row = row_with({{"question", "Which way? A. Left B. Straight C. Right"}});
  EXPECT_EQ(prompt_of("realworldqa", row), "Which way? A. Left B. Straight C. Right");
}

TEST(PublishedForms, ListsOfAnswers) {
  const Json chart = {{"question", "How many?"}, {"answer", "['3']"}, {"split", "test_human"}};
  EXPECT_EQ(score_of("chartqa", chart, "3"), 1);
  EXPECT_EQ(score_of("chartqa", chart, "4"), 0);
  EXPECT_EQ(doc_of("chartqa", chart).at("type"), "human_test");
  EXPECT_THROW(doc_of("chartqa", {{"question", "?"}, {"answer", "['3', '4']"}}), InputError);
  const Json page = {{"question", "Who?"}, {"answer", "['Ann', 'Ann B']"}};
  EXPECT_EQ(score_of("docvqa", page, "ann"), 1);
  EXPECT_EQ(doc_of("textvqa", page).at("answers"), Json({"Ann", "Ann B"}));
  EXPECT_EQ(doc_of("vqav2", page).at("answers"), Json({"Ann", "Ann B"}));
}

TEST(PublishedForms, PairsOfMmeAreKnownByTheirPicture) {
  const Json row = {{"question", "Is there a dog? Please answer yes or no."},
                    {"answer", "Yes"},
                    {"category", "existence"},
                    {"image_path", "existence/a.jpg"}};
  EXPECT_EQ(doc_of("mme", row).at("question_id"), "existence/a.jpg");
  EXPECT_EQ(prompt_of("mme", row), "Is there a dog?\nAnswer the question using a single word or phrase.");
  EXPECT_EQ(refusal("mme", row), "");
}

TEST(Refusals, OptionsThatAreNowhere) {
  const Json bare = {{"question", "Which way?"}, {"answer", "C"}, {"category", "c"}, {"l2_category", "l"}};
  for (const char* benchmark : {"realworldqa", "mmstar"}) {
    EXPECT_THAT(refusal(benchmark, bare), HasSubstr("the answer is the letter C")) << benchmark;
  }
  EXPECT_EQ(refusal("realworldqa", {{"question", "How many cars?"}, {"answer", "3"}}), "");
  for (const char* benchmark : {"ai2d", "mmmu_mc"}) {
    EXPECT_THAT(refusal(benchmark, bare), HasSubstr("\"options\" is missing")) << benchmark;
  }
  EXPECT_THAT(refusal("mmniah", {{"question", "Which?"}, {"context", "c"}, {"answer", 1}}),
              HasSubstr("choices"));
  EXPECT_THAT(refusal("ai2d", {{"question", "?"}, {"A", "x"}, {"C", "z"}, {"answer", "C"}}),
              HasSubstr("the option B is empty"));
  EXPECT_THAT(refusal("ai2d", row_with({{"answer", "D"}})), HasSubstr("(A, B, C), found \"D\""));
  EXPECT_THAT(refusal("mmbench", row_with({{"answer", "E"}})), HasSubstr("found \"E\""));
}

TEST(Refusals, RecordsOfOtherBenchmarks) {
  for (const char* benchmark : {"pope", "mme", "vqav2", "textvqa", "docvqa", "chartqa", "refcoco_rec"}) {
    EXPECT_THAT(refusal(benchmark, row_with({{"answers", {"C"}},
                                             {"type", "human_test"},
                                             {"category", "existence"},
                                             {"question_id", 1},
                                             {"bbox", {0, 0, 1, 1}}})),
                HasSubstr("has options (A, B, C)"))
        << benchmark;
  }
  const Json number = {
      {"question", "How many?"}, {"answer", "3"}, {"category", "existence"}, {"question_id", 1}};
  for (const char* benchmark : {"pope", "mme"}) {
    EXPECT_THAT(refusal(benchmark, number), HasSubstr("expected yes or no, found \"3\"")) << benchmark;
  }
  EXPECT_THAT(
      refusal("mme", {{"question", "?"}, {"answer", "no"}, {"category", "random"}, {"question_id", 1}}),
      HasSubstr("MME's fourteen"));
  EXPECT_THAT(
      refusal("mmstar", {{"question", "?"}, {"answer", "yes"}, {"category", "c"}, {"l2_category", "l"}}),
      HasSubstr("letter of an option"));
  EXPECT_THAT(refusal("chartqa", {{"question", "?"}, {"answer", "3"}, {"type", "val"}}),
              HasSubstr("human_test"));
  EXPECT_THAT(refusal("docvqa", {{"question", "?"}, {"answers", Json::array()}}), HasSubstr("found none"));
  EXPECT_THAT(refusal("pope", {{"q", "?"}, {"answer", "yes"}}),
              HasSubstr("\"question\" is missing or empty; there are answer, q"));
}

/// MathVista's and MATH-Vision's questions hold their choices in VLMEvalKit's tables, and beside them in the data sets.
TEST(Refusals, ChoicesThatWouldBeAskedTwiceOrNotAtAll) {
  const Json mathvista = {
      {"index", 0},
      {"question", "Hint: Please choose.\nQuestion: Which one?\nChoices:\n(A) a lamp\n(B) a sled"},
      {"choices", "['a lamp', 'a sled']"},
      {"answer", "a sled"},
      {"answer_option", "B"},
      {"question_type", "multi_choice"},
      {"answer_type", "text"}};
  EXPECT_THAT(refusal("mathvista_mini", mathvista), HasSubstr("--profile vlmevalkit"));
  Json own = mathvista;
  own.erase("answer_option");
  own.erase("index");
  own.update({{"pid", "1"}, {"question", "Which one?"}, {"query", mathvista.at("question")}});
  EXPECT_EQ(refusal("mathvista_mini", own), "");
  const Benchmark& table = benchmark_under(find_benchmark("mathvista_mini"), Profile::kVlmEvalKit);
  const Json asked = own_columns(table, own);
  EXPECT_EQ(asked.at("question"), mathvista.at("question"));
  EXPECT_EQ(asked.at("answer_option"), "B");
  EXPECT_EQ(own_columns(table, asked), asked);
  own.erase("query");
  EXPECT_THAT(testing::refusal_of([&] { own_columns(table, own); }), HasSubstr("\"query\""));
  const Json mathvision = {{"index", 0},
                           {"question", "Which one?\nChoices: (A) a lamp (B) a sled"},
                           {"choices", "['a lamp', 'a sled']"},
                           {"answer", "B"}};
  EXPECT_THAT(refusal("mathvision_mini", mathvision), HasSubstr("--profile vlmevalkit"));
  const Json listed = {
      {"id", "1"}, {"question", "Which one?"}, {"options", {"a lamp", "a sled"}}, {"answer", "B"}};
  EXPECT_EQ(refusal("mathvision_mini", listed), "");
  const Benchmark& form = benchmark_under(find_benchmark("mathvision_mini"), Profile::kVlmEvalKit);
  EXPECT_THAT(testing::refusal_of([&] { own_columns(form, listed); }), HasSubstr("--profile current"));
  EXPECT_EQ(own_columns(form, mathvision).at("choices"), mathvision.at("choices"));
  const Json free = {{"id", "2"}, {"question", "How many?"}, {"options", Json::array()}, {"answer", "2"}};
  EXPECT_EQ(own_columns(form, free).at("choices"), Json::array());
}

TEST(Refusals, ABoxInPixelsNeedsTheSizeOfItsPicture) {
  const Json box = {{"answer", "the cup"}, {"bbox", {10, 20, 30, 40}}};
  EXPECT_THAT(refusal("refcoco_rec", box), HasSubstr("image_size"));
  Json sized = box;
  sized["image_size"] = {100, 200};
  EXPECT_EQ(refusal("refcoco_rec", sized), "");
  EXPECT_EQ(score_of("refcoco_rec", sized, "[0.1, 0.1, 0.4, 0.3]"), 1);
  sized["image_size"] = {5, 200};
  EXPECT_THAT(refusal("refcoco_rec", sized), HasSubstr("inside of 5 x 200"));
}

TEST(Records, ABoxInPixelsGetsTheSizeOfItsPicture) {
  const testing::TemporaryFolder folder;
  std::filesystem::copy_file(testing::golden_path("vision/preprocess/synthetic/gray_37x53.png"),
                             folder.path("p.png"));
  const Json record = {{"answer", "the cup"}, {"bbox", {10, 20, 8, 30}}, {"image", "p.png"}};
  const auto records = open_records(folder.write("f.jsonl", record.dump() + "\n"), "refcoco_rec");
  EXPECT_EQ(records->doc(0).at("image_size"), Json({37, 53}));
}

TEST(Rejections, ReasonsHaveTheirCounts) {
  const std::vector<std::string> reasons =
      rejection_reasons({{1, "x"}, {2, "bad_answer"}, {3, "x"}, {4, "x"}, {9, "x"}});
  EXPECT_EQ(reasons, (std::vector<std::string>{
                         "4 records: x (records 1, 3, 4, ...)",
                         "1 record: \"answer\" is not the letter of an option that is there (record 2)"}));
}

TEST(Readings, UnreadableAnswersAreKnown) {
  const auto unreadable = [](const std::string& benchmark, const Json& record, const std::string& output) {
    return find_benchmark(benchmark).read(doc_of(benchmark, record), output, {}).unreadable;
  };
  const Json yes = {{"question", "?"}, {"answer", "yes"}, {"category", "existence"}, {"question_id", 1}};
  EXPECT_TRUE(unreadable("pope", yes, "waves"));
  EXPECT_FALSE(unreadable("pope", yes, "No"));
  EXPECT_TRUE(unreadable("mme", yes, "waves"));
  for (const char* benchmark : {"realworldqa", "mmstar", "ai2d", "scienceqa_img", "mmmu_mc"}) {
    EXPECT_FALSE(unreadable(benchmark, kRow, "A")) << benchmark;
    EXPECT_TRUE(unreadable(benchmark, kRow, "")) << benchmark;
  }
  EXPECT_TRUE(unreadable("refcoco_rec", {{"bbox", {0, 0, 1, 1}}}, "the cup"));
}

}  // namespace
}  // namespace ropescope::eval
