// Measures on rows made by hand, queries by name, and intervals.
#include "ropescope/analysis/attention_measures.h"

#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/attention_queries.h"
#include "ropescope/analysis/statistics.h"
#include "ropescope/core/errors.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

/// text 2, thumbnail 2x2 at 2..5, high-res 4x4 with newlines at 6..25, text 3 at 26..28.
const char* const kLayout = "text:2,anyres:2x2+4x4,text:3";

EncodedModel small_model() {
  EncodedModel model;
  model.head_dim = 8;
  model.heads = 2;
  model.kv_heads = 1;
  model.layers = 1;
  return model;
}

TEST(AttentionMeasures, NumbersOfRowsMadeByHand) {
  const Layout layout = parse_layout(kLayout);
  const SequenceEncoding encoding(Scheme("id-align"), layout, small_model());
  const TokenPlaces places = token_places(layout);
  const int64_t tokens = layout.tokens(), high = 6 + 5 * 2 + 3;  // row 2, column 3: thumbnail cell 1, 1
  ASSERT_EQ(tokens, 29);
  ASSERT_EQ(places.partner[static_cast<size_t>(high)], 5);
  at::Tensor rows = at::zeros({2, 2, tokens});
  rows[0][0][5] = 0.5;   // the high-resolution token: half on its partner,
  rows[0][0][2] = 0.25;  // a quarter on another thumbnail token,
  rows[0][0][0] = 0.25;  // and a quarter on the first token
  rows[1][0][2] = 0.5;   // the second head prefers another; the partner shares its place with two more
  rows[1][0][19] = 0.5;
  rows.select(1, 1)[0].fill_(1.0 / tokens);  // the last token looks everywhere, or at one newline token
  rows[1][1][10] = 1.0;
  const AttentionMeasures measures(places, encoding, tokens, {high, 28}, {high + 1, 29}, {1, 3});
  const auto values = measures.of(rows);
  const auto value = [&](const char* name, int64_t head, int64_t query) {
    return values.at(name)[head][query].item<double>();
  };
  EXPECT_NEAR(value("visual_share", 0, 0), 0.75, 1e-7);
  EXPECT_NEAR(value("thumbnail_share", 1, 0), 0.5, 1e-7);
  EXPECT_NEAR(value("high_res_share", 1, 0), 0.5, 1e-7);
  EXPECT_NEAR(value("high_res_share", 1, 1), 0.0, 1e-7);  // newline tokens are visual, not high-resolution
  EXPECT_NEAR(value("visual_share", 1, 1), 1.0, 1e-7);
  EXPECT_NEAR(value("visual_share", 0, 1), 24.0 / 29, 1e-6);
  EXPECT_NEAR(value("partner_share", 0, 0), 0.5 / 0.75, 1e-7);
  EXPECT_EQ(value("partner_rank", 0, 0), 1);
  EXPECT_EQ(value("partner_rank", 1, 0), 3);  // one above, three equal at 0: places 2 to 4
  EXPECT_EQ(value("hit_top1", 0, 0), 1);
  EXPECT_EQ(value("hit_top1", 1, 0), 0);
  EXPECT_EQ(value("hit_top3", 1, 0), 1);
  EXPECT_TRUE(std::isnan(value("partner_share", 0, 1)));
  EXPECT_TRUE(std::isnan(value("hit_top1", 0, 1)));
  // Mass above the uniform share 1/n, n = 20 visible keys.
  EXPECT_NEAR(value("sink_first", 0, 0), 0.25 - 0.05 + 0.25 - 0.05, 1e-7);
  EXPECT_NEAR(value("sink_visual", 0, 0), 0.5 - 0.05, 1e-7);
  EXPECT_NEAR(value("sink_first", 0, 1), 0.0, 1e-6);
  EXPECT_NEAR(value("entropy", 0, 1), std::log(29.0), 1e-6);
  EXPECT_NEAR(value("entropy", 1, 1), 0.0, 1e-6);
  EXPECT_NEAR(value("token_distance", 0, 0), 0.5 * 14 + 0.25 * 17 + 0.25 * 19, 1e-6);
  // The high-resolution token has its partner's id 5: no distance to it, 3 to token 2, 5 to token 0.
  EXPECT_NEAR(value("id_distance", 0, 0), 0.25 * 3 + 0.25 * 5, 1e-6);
  EXPECT_TRUE(
      testing::all_close(measures.uniform_share(), at::tensor({18.0 / 20, 24.0 / 29}, at::kDouble), 1e-12));
  EXPECT_TRUE(std::isnan(measures.text_distance()[0].item<double>()));
  EXPECT_EQ(measures.text_distance()[1].item<double>(), 2);
}

TEST(AttentionMeasures, TextOnlyHasNoVisualNumbers) {
  const Layout layout = parse_layout("text:4");
  const SequenceEncoding encoding(Scheme("vanilla"), layout, small_model());
  const AttentionMeasures measures(token_places(layout), encoding, 4, {3}, {4}, {1});
  at::Tensor rows = at::zeros({1, 1, 4});
  rows[0][0][0] = 1;
  const auto values = measures.of(rows);
  EXPECT_TRUE(std::isnan(values.at("visual_share").item<double>()));
  EXPECT_TRUE(std::isnan(values.at("sink_visual").item<double>()));
  EXPECT_NEAR(values.at("sink_first").item<double>(), 0.75, 1e-9);
  EXPECT_TRUE(std::isnan(measures.uniform_share().item<double>()));
}

TEST(AttentionMeasures, VisibleKeysAreCausalLessPaddingOrRings) {
  const Layout layout = parse_layout("text:1,image:3x3,text:2");
  const SequenceEncoding plain(Scheme("vanilla"), layout, small_model());
  EXPECT_EQ(visible_counts(plain, {0, 4, 11}, {}), (std::vector<int64_t>{1, 5, 12}));
  const at::Tensor mask = at::tensor({0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, at::kLong).unsqueeze(0);
  EXPECT_EQ(visible_counts(plain, {4, 11}, mask), (std::vector<int64_t>{3, 10}));
  const SequenceEncoding rings(Scheme("cca"), layout, small_model());
  // The corner sees the outer ring (8) and the text before; the centre everything.
  EXPECT_EQ(visible_counts(rings, {1, 5, 11}, {}), (std::vector<int64_t>{9, 10, 12}));
}

TEST(AttentionQueries, SetsByNameEachTokenOnceInTheUnion) {
  AttentionInput input;
  input.layout = parse_layout(kLayout);
  input.input_ids = at::zeros({1, 29}, at::kLong);
  take_last_text_as_question(input);
  QueryRequest request;
  parse_queries("text,last,3,26-28,generated", request);
  const auto sets = choose_queries(input, token_places(input.layout), request, 2, {});
  ASSERT_EQ(sets.size(), 4u);
  EXPECT_EQ(sets[0].name, "last");
  EXPECT_EQ(sets[1].tokens, (std::vector<int64_t>{26, 27, 28}));
  EXPECT_EQ(sets[2].tokens, (std::vector<int64_t>{29, 30}));
  EXPECT_EQ(union_of(sets), (std::vector<int64_t>{3, 26, 27, 28, 29, 30}));

  QueryRequest wrong;
  EXPECT_THROW(parse_queries("lst", wrong), UsageError);
  EXPECT_THROW(parse_queries("5-3", wrong), UsageError);
  QueryRequest far;
  parse_queries("31", far);
  EXPECT_THROW(choose_queries(input, token_places(input.layout), far, 2, {}), UsageError);

  const QuerySet probe = probe_queries(token_places(input.layout), 4);
  EXPECT_EQ(probe.tokens, (std::vector<int64_t>{8, 13, 18, 23}));  // column 2 of each row
  EXPECT_EQ(probe_queries(token_places(input.layout), 100).tokens.size(), 16u);
}

TEST(MeanInterval, StudentOverObservations) {
  const MeanInterval three = mean_interval({1, 2, 3});
  EXPECT_EQ(three.count, 3);
  EXPECT_NEAR(three.mean, 2, 1e-12);
  EXPECT_NEAR(three.ci95_high - three.mean, 4.302652729911275 / std::sqrt(3.0), 1e-9);
  const MeanInterval one = mean_interval({NAN, 5});
  EXPECT_EQ(one.count, 1);
  EXPECT_EQ(one.mean, 5);
  EXPECT_TRUE(std::isnan(one.ci95_low));
  EXPECT_TRUE(std::isnan(mean_interval({}).mean));
}

}  // namespace
}  // namespace ropescope
