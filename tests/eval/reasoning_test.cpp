// Reasoning in answers is taken out under the profile `current`, and under that one only.
#include "ropescope/eval/reasoning.h"

#include <gtest/gtest.h>

namespace ropescope::eval {
namespace {

TEST(Reasoning, BlocksGoAndTheRestIsStripped) {
  EXPECT_EQ(without_reasoning("<think>It is red, so no.\n</think>\n yes "), "yes");
  EXPECT_EQ(without_reasoning("A<analysis>b</analysis>C<think>d</think>E<think>f</think>"), "ACE");
  EXPECT_EQ(without_reasoning("<think>a<think>b</think>c</think>d"), "c</think>d");  // not nested, as there
  EXPECT_EQ(without_reasoning(" <think>cut off by the token limit "), " <think>cut off by the token limit ");
  EXPECT_EQ(without_reasoning("</think>no<think>"), "</think>no<think>");
  EXPECT_EQ(without_reasoning(" plain "), " plain ");
}

TEST(Reasoning, OnlyUnderTheCurrentProfile) {
  const Json doc = {{"question", "Is it red?"}, {"answer", "yes"}};
  const Benchmark& pope = find_benchmark("pope");
  Rules current;
  current.profile = Profile::kCurrent;
  EXPECT_EQ(read_answer(pope, doc, "<think>hm</think>Yes", current).score, 1);
  EXPECT_EQ(read_answer(pope, doc, "<think>hm</think>Yes", {}).score, 0);
  EXPECT_EQ(read_answer(pope, doc, "Yes", {}).score, 1);
}

}  // namespace
}  // namespace ropescope::eval
