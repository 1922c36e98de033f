// Answers that are handed over to a judge model and taken back; the questions of `ropescope order`.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/file.h"
#include "ropescope/eval/order_questions.h"

#include "tests/cli/evaluate_runs.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

class JudgeCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    const Json doc = {
        {"question", "What is it?"}, {"A", "a lamp"}, {"B", "a sled"}, {"answer", "B"}, {"category", "c"}};
    write("items.jsonl", {{{"doc", doc}, {"output", "B"}},
                          {{"doc", doc}, {"output", "Something with runners."}},
                          {{"doc", doc}, {"output", "It glows."}},
                          {{"doc", {{"question", "?"}}}, {"output", "B"}}});
  }

  void write(const std::string& name, const std::vector<Json>& lines) const {
    std::ofstream stream(folder_.path(name));
    for (const Json& line : lines) stream << line.dump() << "\n";
  }
  CommandResult score(const std::string& more) const {
    return run_ropescope("score --quiet --json --benchmark ai2d --profile vlmevalkit --items '" +
                         folder_.path("items.jsonl") + "' " + more);
  }
  std::string path(const std::string& name) const { return "'" + folder_.path(name) + "'"; }

  TemporaryFolder folder_;
};

TEST_F(JudgeCommand, UndecidedAnswersAreWrittenMarkedAndCounted) {
  const auto result = score("--to-judge " + path("judge.jsonl"));
  EXPECT_EQ(result.exit_code, 3);  // one record cannot be scored, and the others are
  const std::vector<Json> lines = json_lines(result.out);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_FALSE(lines[0].contains("undecided"));
  EXPECT_EQ(lines[1].at("undecided"), true);
  EXPECT_EQ(lines[1].at("score"), 0);
  const Json& summary = lines.back();
  EXPECT_EQ(summary.at("judge"), (Json{{"figure", "rule-based prefetch"}, {"judged", 0}, {"undecided", 2}}));
  EXPECT_EQ(summary.at("items"), 4);
  EXPECT_EQ(summary.at("rejected"), 1);
  EXPECT_EQ(summary.at("unreadable"), 2);
  EXPECT_NEAR(summary.at("aggregates").at("overall").get<double>(), 1.0 / 3, 1e-12);
  const std::vector<Json> asked = json_lines(read_file(folder_.path("judge.jsonl")));
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[0].at("record"), 2);
  EXPECT_EQ(asked[0].at("output"), "Something with runners.");
  EXPECT_THAT(asked[0].at("question").get<std::string>(), HasSubstr("B. a sled"));
  const auto again = score("--to-judge " + path("judge.jsonl"));
  EXPECT_THAT(again.err, HasSubstr("judge.jsonl"));  // nothing is overwritten without --force
  EXPECT_EQ(again.out, "");                          // nor scored before that is said
  EXPECT_EQ(json_lines(read_file(folder_.path("judge.jsonl"))), asked);
}

TEST_F(JudgeCommand, RepliesDecideThem) {
  write("replies.jsonl", {{{"record", 2}, {"answer", "B"}, {"output", "Something with runners."}},
                          {{"record", 3}, {"answer", "neither of them, I think"}},
                          {{"record", 1}, {"answer", "A"}}});  // a decided answer stays as it is
  const std::vector<Json> lines = json_lines(score("--judge " + path("replies.jsonl")).out);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0].at("score"), 1);
  EXPECT_EQ(lines[1].at("extracted"), "B");
  EXPECT_EQ(lines[1].at("score"), 1);
  EXPECT_EQ(lines[2].at("undecided"), true);
  EXPECT_EQ(lines.back().at("judge"), (Json{{"figure", "judged"}, {"judged", 2}, {"undecided", 1}}));
}

TEST_F(JudgeCommand, RepliesToOtherAnswersAreRefused) {
  write("replies.jsonl", {{{"record", 2}, {"answer", "B"}, {"output", "Something else."}}});
  const std::vector<Json> lines = json_lines(score("--judge " + path("replies.jsonl")).out);
  EXPECT_THAT(lines.at(1).at("error").get<std::string>(), HasSubstr("about another answer"));
  write("twice.jsonl", {{{"record", 2}, {"answer", "B"}}, {{"record", 2}, {"answer", "A"}}});
  const auto twice = score("--judge " + path("twice.jsonl"));
  EXPECT_EQ(twice.exit_code, 3);
  EXPECT_THAT(twice.err, HasSubstr("a second reply for record 2"));
  write("bare.jsonl", {{{"record", 2}}});
  EXPECT_THAT(score("--judge " + path("bare.jsonl")).err, HasSubstr("\"answer\""));
  const auto none = run_ropescope("score --benchmark ai2d --items " + path("items.jsonl") + " --judge " +
                                  path("bare.jsonl"));
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.err, HasSubstr("no judge reads ai2d under the profile paper"));
}

/// As samples of a run over several lengths are: each record once for each.
TEST_F(JudgeCommand, SecondAnswersToARecordAreNotForAJudge) {
  const Json doc = {{"question", "What is it?"}, {"A", "a lamp"}, {"B", "a sled"}, {"answer", "B"}};
  write("items.jsonl", {{{"record", 1}, {"doc", doc}, {"output", "It glows."}, {"distractor_tokens", 0}},
                        {{"record", 1}, {"doc", doc}, {"output", "It burns."}, {"distractor_tokens", 64}}});
  write("replies.jsonl", {{{"record", 1}, {"answer", "B"}}});
  EXPECT_EQ(score("").exit_code, 0);
  for (const std::string& more : {"--to-judge " + path("judge.jsonl"), "--judge " + path("replies.jsonl")}) {
    const auto result = score(more);
    EXPECT_EQ(result.exit_code, 2) << more;
    EXPECT_THAT(result.err, HasSubstr("items.jsonl:2: a second answer to record 1"));
  }
  EXPECT_FALSE(std::filesystem::exists(folder_.path("judge.jsonl")));
}

/// A run on a tiny model, whose answers say nothing.
class TinyRuns : public ::testing::Test {
 protected:
  void SetUp() override { write_tiny_llava(folder_.path("")); }
  CommandResult evaluate(const std::string& benchmark, const std::string& data,
                         const std::string& more) const {
    return run_ropescope("evaluate --quiet --model '" + folder_.path("") + "' --benchmark " + benchmark +
                         " --data '" + folder_.path(data) + "' --max-new-tokens 4 --output '" +
                         folder_.path("run") + "' " + more);
  }
  TemporaryFolder folder_;
};

TEST_F(TinyRuns, ARunHandsOverWhatItsHarnessAsksAJudge) {
  {
    std::ofstream stream(folder_.path("items.jsonl"));
    for (int i = 0; i < 4; ++i) {
      stream << Json{{"question", "Is it " + std::to_string(i) + "?"},
                     {"answer", "Yes"},
                     {"category", "popular"}}
                    .dump()
             << "\n";
    }
  }
  const auto result = evaluate("pope", "items.jsonl", "--profile vlmevalkit");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json summary = summary_in(folder_.path("run"));
  ASSERT_EQ(summary.at("judge").at("figure"), "rule-based prefetch");
  const auto undecided = summary.at("judge").at("undecided").get<size_t>();
  ASSERT_GT(undecided, 0u);
  EXPECT_THAT(result.out, HasSubstr("rule-based prefetch: " + std::to_string(undecided)));
  const std::vector<Json> asked = json_lines(read_file(folder_.path("run/judge.jsonl")));
  ASSERT_EQ(asked.size(), undecided);
  std::ofstream replies(folder_.path("replies.jsonl"));
  for (const Json& line : asked) {
    replies << Json{{"record", line.at("record")}, {"output", line.at("output")}, {"answer", "Yes"}}.dump()
            << "\n";
  }
  replies.close();
  const auto judged =
      run_ropescope("score --json --benchmark pope --profile vlmevalkit --items '" +
                    folder_.path("run/samples.jsonl") + "' --judge '" + folder_.path("replies.jsonl") + "'");
  ASSERT_EQ(judged.exit_code, 0) << judged.err;
  const Json last = json_lines(judged.out).back();
  EXPECT_EQ(last.at("judge").at("undecided"), 0);
  EXPECT_EQ(last.at("judge").at("judged"), undecided);
  EXPECT_NEAR(
      last.at("aggregates").at("all").at("accuracy").get<double>(),
      summary.at("aggregates").at("all").at("accuracy").get<double>() + static_cast<double>(undecided) / 4,
      1e-12);
  const auto report = run_ropescope("report --results '" + folder_.path("run") + "' --output '" +
                                    folder_.path("report.md") + "'");
  ASSERT_EQ(report.exit_code, 0) << report.err;
  EXPECT_THAT(read_file(folder_.path("report.md")), HasSubstr("vlmevalkit, rule-based prefetch"));
}

TEST_F(TinyRuns, QuestionsOfOrderAreAskedWithTheirPicturesInPlace) {
  ASSERT_EQ(
      run_ropescope("order --quiet --count 3 --side 24 --output '" + folder_.path("order") + "'").exit_code,
      0);
  const auto result = evaluate("order", "order/questions.jsonl", "");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json summary = summary_in(folder_.path("run"));
  EXPECT_EQ(summary.at("items"), 3);
  EXPECT_EQ(summary.at("failed"), 0);
  EXPECT_EQ(summary.at("rejected"), Json::array());
  EXPECT_FALSE(summary.contains("judge"));
}

TEST(ProfileFlag, WhatAHarnessLacksIsRefused) {
  const auto result = run_ropescope("score --benchmark vqav2 --profile vlmevalkit --items x");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("vqav2; there are paper, current"));
}

TEST(OrderCommand, TheSeedIsTheFile) {
  const TemporaryFolder folder;
  const auto make = [&](const std::string& output, const std::string& more) {
    return run_ropescope("order --quiet --json --count 200 --output '" + folder.path(output) + "' " + more);
  };
  const auto first = make("a", "--seed 5");
  ASSERT_EQ(first.exit_code, 0) << first.err;
  ASSERT_EQ(make("b", "--seed 5").exit_code, 0);
  ASSERT_EQ(make("c", "--seed 6").exit_code, 0);
  const std::string questions = read_file(folder.path("a/questions.jsonl"));
  EXPECT_EQ(questions, read_file(folder.path("b/questions.jsonl")));
  EXPECT_NE(questions, read_file(folder.path("c/questions.jsonl")));
  EXPECT_EQ(make("a", "--seed 5").exit_code, 2);
  const auto check = run_ropescope("score --check --json --benchmark order --data '" +
                                   folder.path("a/questions.jsonl") + "'");
  ASSERT_EQ(check.exit_code, 0) << check.err;
  EXPECT_EQ(json_lines(check.out).at(0).at("n_questions"), 200);
  EXPECT_EQ(json_lines(check.out).at(0).at("rejected"), Json::array());
}

/// The row of a question, read back from its text, says what stands between the two that are named.
TEST(OrderQuestions, TheAnswerStandsBetween) {
  std::map<std::string, int> tags, letters;
  for (int64_t i = 0; i < 2000; ++i) {
    const Json question = eval::order_question(3, i);
    const auto text = question.at("question").get<std::string>();
    const Json images = question.at("images");
    std::vector<std::string> row, lines;
    for (size_t from = 0; from <= text.size();) {
      const size_t end = std::min(text.find('\n', from), text.size());
      lines.push_back(text.substr(from, end - from));
      from = end + 1;
    }
    size_t at = 0, picture = 0;
    while (lines.at(at) != "This is the row:") ++at;
    for (++at; lines.at(at).rfind("Question: ", 0) != 0; ++at) {
      const bool seen = lines[at] == "<image>";
      const std::string file = seen ? images.at(picture++).get<std::string>() : "";
      row.push_back(seen ? "the " + file.substr(0, file.size() - 4) + " image"
                         : "the text " + lines[at].substr(6));
    }
    EXPECT_EQ(picture, images.size());
    const std::string asked = lines[at];
    std::vector<std::string> between;
    for (size_t k = 1; k + 1 < row.size(); ++k) {
      if (asked == "Question: What stands directly between " + row[k - 1] + " and " + row[k + 1] + "?") {
        between.push_back(row[k]);
      }
    }
    ASSERT_EQ(between.size(), 1u) << text;
    const auto letter = question.at("answer").get<std::string>();
    std::string option = lines.at(at + 1 + static_cast<size_t>(letter.at(0) - 'A')).substr(3);
    if (option.rfind("Text: ", 0) != 0) option[0] = static_cast<char>(option[0] - 'A' + 'a');
    const std::string named =
        option.rfind("Text: ", 0) == 0 ? "the text " + option.substr(6) : "the " + option;
    EXPECT_EQ(named, between[0]) << text;
    const auto tag = question.at("tag").get<std::string>();
    EXPECT_EQ(tag.rfind("easy", 0) == 0, row.size() <= 4) << text;
    EXPECT_EQ(tag.find("image") != std::string::npos, between[0].find(" image") != std::string::npos);
    ++tags[tag.substr(0, 4)];
    ++letters[letter];
  }
  EXPECT_NEAR(tags["easy"], 1200, 100);  // 4.6 standard deviations
  for (const char* letter : {"A", "B", "C", "D"}) EXPECT_NEAR(letters[letter], 500, 90);
}

}  // namespace
}  // namespace ropescope
