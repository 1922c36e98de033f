// Records of data files, one at a time: names of columns, references between rows, lines of JSON.
#include "ropescope/eval/records.h"

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"
#include "ropescope/eval/evaluation.h"

#include "tests/support/golden.h"

namespace ropescope::eval {
namespace {

/// base64 of a PNG of one pixel.
constexpr const char* kPicture =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGMQUDAAAACkAGE0Zn1yAAAAAElFTkSuQmCC";

TEST(TsvRecords, NamesOfColumnsInAnyCase) {
  const testing::TemporaryFolder folder;
  const std::string row = "\t\"Which,\nof these?\"\tred\tblue\t";
  const std::string file =
      folder.write("f.tsv", "\xEF\xBB\xBFIndex\tQUESTION\ta\tb\tAnswer\tL2-Category\tIMAGE\r\n007" + row +
                                "B\tx\t" + kPicture + "\r\n8" + row + "A\ty\t7\r\n");
  const auto records = open_records(file, "mmbench");
  ASSERT_EQ(records->size(), 2);
  const Json expected = {{"index", "007"}, {"question", "Which,\nof these?"},
                         {"A", "red"},     {"B", "blue"},
                         {"answer", "B"},  {"L2-category", "x"}};
  EXPECT_EQ(records->doc(0), expected);
  // 7 is the row 007.
  ASSERT_EQ(records->pictures(1), records->pictures(0));
  EXPECT_EQ(records->picture(records->pictures(1)[0]).substr(1, 3), "PNG");
}

TEST(TsvRecords, ColumnsOfOtherBenchmarksKeepTheirNames) {
  const testing::TemporaryFolder folder;
  const std::string file =
      folder.write("f.tsv", "question\tChoice_A\tchoice_b\tQuestion_Image_Type\tNote\nq\tx\ty\tmap\tn\n");
  const Json doc = open_records(file, "seedbench_2_plus")->doc(0);
  for (const char* column : {"choice_A", "choice_B", "question_image_type", "Note"}) {
    EXPECT_TRUE(doc.contains(column)) << doc.dump();
  }
}

TEST(TsvRecords, AReferenceLeadsToAPictureOrNowhere) {
  const testing::TemporaryFolder folder;
  const std::string file = folder.write(
      "f.tsv", std::string("index\tquestion\tanswer\timage\n1\tq\tyes\t2\n2\tq\tyes\t3\n3\tq\tyes\t") +
                   kPicture + "\n4\tq\tyes\t9\n5\tq\tyes\t\n");
  const auto records = open_records(file, "pope");
  ASSERT_EQ(records->size(), 5);
  EXPECT_EQ(records->pictures(1), records->pictures(2));
  EXPECT_THROW(records->pictures(0), InputError) << "the row referred to is itself a reference";
  EXPECT_THROW(records->pictures(3), InputError);
  EXPECT_TRUE(records->pictures(4).empty());
}

TEST(JsonlRecords, BrokenLinesAreCountedAndTheOthersRead) {
  const testing::TemporaryFolder folder;
  const std::string file = folder.write(
      "f.jsonl",
      "{\"question\": \"NaN \\\\\\\" -Infinity\", \"answer\": NaN, \"more\": [-Infinity, 1]}\n\n{\n[1]\n"
      "{\"image\": [\"a.png\", null], \"image_2\": \"b.png\"}\r\n{\"image\": 3}");
  const auto records = open_records(file, "pope");
  ASSERT_EQ(records->size(), 3);
  const Json expected = {{"question", "NaN \\\" -Infinity"}, {"answer", nullptr}, {"more", {nullptr, 1}}};
  EXPECT_EQ(records->doc(0), expected);
  EXPECT_EQ(records->number(1), 4);
  EXPECT_EQ(records->pictures(1), (std::vector<std::string>{"a.png", "b.png"}));
  EXPECT_THROW(records->pictures(2), InputError);
  ASSERT_EQ(records->rejected().size(), 2u);
  EXPECT_EQ(records->rejected()[0].record, 2);
  EXPECT_EQ(records->rejected()[1].record, 3);
}

TEST(Plan, ARecordThatNoFigureCanCountIsRejectedBeforeItIsAsked) {
  const testing::TemporaryFolder folder;
  const std::string file = folder.write(
      "f.jsonl",
      "{\"question\": \"q A: a, B: b\", \"answer\": \"A\", \"category\": \"c\", \"l2_category\": \"l\"}\n"
      "{\"question\": \"q A: a\", \"answer\": \"A\", \"category\": \"c\"}\n{\"question\": \"q\", "
      "\"category\": \"c\"}\n");
  const auto records = open_records(file, "mmstar");
  PlanOptions options;
  options.count_tokens = [](const std::string& prompt) { return static_cast<int64_t>(prompt.size()); };
  const Plan plan = plan_questions(*records, find_benchmark("mmstar"), {}, options);
  EXPECT_EQ(plan.questions, 1);
  ASSERT_EQ(plan.rejected.size(), 2u);
  EXPECT_NE(plan.rejected[0].error.find("l2_category"), std::string::npos) << plan.rejected[0].error;
  EXPECT_NE(plan.rejected[1].error.find("answer"), std::string::npos) << plan.rejected[1].error;
}

TEST(OpenRecords, OtherFilesAreRefused) {
  const testing::TemporaryFolder folder;
  EXPECT_THROW(open_records(folder.write("f.csv", "a,b"), "pope"), InputError);
  EXPECT_THROW(open_records(folder.path("absent.jsonl"), "pope"), InputError);
  EXPECT_THROW(open_records(folder.write("empty.tsv", ""), "pope"), InputError);
  EXPECT_THROW(open_records(folder.write("open.tsv", "index\tquestion\n1\t\"a"), "pope"), InputError);
}

}  // namespace
}  // namespace ropescope::eval
