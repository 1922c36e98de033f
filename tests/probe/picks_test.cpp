#include "ropescope/probe/picks.h"

#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/probe/texts.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using ::testing::HasSubstr;

TEST(DrawPicks, DependOnSeedTextAndLayerOnly) {
  DrawRule rule;
  rule.seed = 7;
  const auto first = draw_picks(rule, 3, 5, 100, {0, 1, 2});
  EXPECT_EQ(first, draw_picks(rule, 3, 5, 100, {0, 1, 2}));
  EXPECT_NE(first, draw_picks(rule, 4, 5, 100, {0, 1, 2}));
  EXPECT_NE(first, draw_picks(rule, 3, 6, 100, {0, 1, 2}));
  // More pairs begin with the same ones.
  rule.pairs = 20;
  auto longer = draw_picks(rule, 3, 5, 100, {0, 1, 2});
  longer.resize(10);
  EXPECT_EQ(first, longer);
  rule.seed = 8;
  rule.pairs = 10;
  EXPECT_NE(first, draw_picks(rule, 3, 5, 100, {0, 1, 2}));
}

TEST(DrawPicks, AreUniform) {
  DrawRule rule;
  rule.pairs = 60'000;
  rule.skip_first = 1;
  std::map<std::tuple<int64_t, int64_t, int64_t>, int> seen;
  for (const Pick& pick : draw_picks(rule, 0, 0, 4, {2, 5})) ++seen[{pick.head, pick.query, pick.key}];
  ASSERT_EQ(seen.size(), 18u);  // 2 heads x 3 x 3 tokens
  // 3333 expected, standard deviation 56: five of them.
  for (const auto& [cell, count] : seen) EXPECT_NEAR(count, 60'000 / 18.0, 5 * 56);
}

TEST(DrawPicks, CausalPairsAreUniformToo) {
  DrawRule rule;
  rule.pairs = 60'000;
  rule.causal = true;
  std::map<std::pair<int64_t, int64_t>, int> seen;
  for (const Pick& pick : draw_picks(rule, 0, 0, 3, {0})) ++seen[{pick.query, pick.key}];
  ASSERT_EQ(seen.size(), 6u);
  for (const auto& [cell, count] : seen) {
    EXPECT_LE(cell.second, cell.first);
    EXPECT_NEAR(count, 10'000, 5 * 92);
  }
}

class PicksFile : public ::testing::Test {
 protected:
  std::string write(const std::string& content) { return folder_.write("picks.csv", content); }
  std::string error_of(const std::string& content) {
    return testing::refusal_of([&] { check_picks(read_picks(write(content)), {20, 30}, 4, 9); });
  }
  testing::TemporaryFolder folder_;
};

TEST_F(PicksFile, KeepsOrderAndTakesColumnsByName) {
  const auto list =
      read_picks(write("\xEF\xBB\xBFkey,query, head ,layer,text,note\r\n4,3,2,1,0,x\r\n\r\n9,8,7,6,5,y"));
  ASSERT_EQ(list.picks.size(), 2u);
  EXPECT_EQ(list.picks[0], (Pick{0, 1, 2, 3, 4}));
  EXPECT_EQ(list.picks[1], (Pick{5, 6, 7, 8, 9}));
  EXPECT_EQ(list.lines, (std::vector<int64_t>{2, 4}));
}

TEST_F(PicksFile, ErrorsNameTheLine) {
  const std::string header = "text,layer,head,query,key\n0,0,0,0,0\n";
  EXPECT_EQ(error_of(header), "");
  EXPECT_THAT(error_of(header + "0,0,0,20,0\n"), HasSubstr("picks.csv line 3: query 20: expected 0 to 19"));
  EXPECT_THAT(error_of(header + "1,0,0,20,30\n"), HasSubstr("line 3: key 30: expected 0 to 29"));
  EXPECT_THAT(error_of(header + "2,0,0,0,0\n"), HasSubstr("line 3: text 2: expected 0 to 1"));
  EXPECT_THAT(error_of(header + "0,4,0,0,0\n"), HasSubstr("line 3: layer 4: expected 0 to 3"));
  EXPECT_THAT(error_of(header + "0,0,9,0,0\n"), HasSubstr("line 3: head 9: expected 0 to 8"));
  EXPECT_THAT(error_of(header + "0,0,-1,0,0\n"), HasSubstr("line 3: column head"));
  EXPECT_THAT(error_of(header + "0,0,1.5,0,0\n"), HasSubstr("line 3: column head"));
  EXPECT_THAT(error_of(header + "0,0,99999999999999999999,0,0\n"), HasSubstr("line 3: column head"));
  EXPECT_THAT(error_of(header + "0,0,0,0\n"), HasSubstr("line 3: expected 5 fields"));
  EXPECT_THAT(error_of("text,layer,head,query\n"), HasSubstr("column key is missing"));
  EXPECT_THAT(error_of(""), HasSubstr("at least one pick"));
}

TEST(PackTexts, FillsPassesInOrder) {
  using Packs = std::vector<std::vector<int64_t>>;
  EXPECT_EQ(pack_texts({3, 4, 5, 20, 1}, 8), (Packs{{0, 1}, {2}, {3}, {4}}));
  EXPECT_EQ(pack_texts({3, 4}, 1), (Packs{{0}, {1}}));
  EXPECT_EQ(pack_texts({}, 8), Packs{});
}

}  // namespace
}  // namespace ropescope
