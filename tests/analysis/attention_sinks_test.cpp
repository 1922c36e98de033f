// Sinks by cell: classes, shares of rows made by hand, and a null that holds its level.
#include "ropescope/analysis/attention_sinks.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <boost/random/normal_distribution.hpp>
#include <gtest/gtest.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/random.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/attention_rows.h"

#include "tests/support/golden.h"

namespace ropescope::sinks_test {
namespace {

using testing::all_close;
using testing::TemporaryFolder;

std::array<int, 3> counted(int64_t rows, int64_t columns) {
  std::array<int, 3> count{};
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) ++count[static_cast<size_t>(cell_class(r, c, rows, columns))];
  }
  return count;
}

TEST(CellClasses, OfGridsDownToOneCell) {
  EXPECT_EQ(counted(4, 5), (std::array<int, 3>{4, 10, 6}));
  EXPECT_EQ(counted(3, 3), (std::array<int, 3>{4, 4, 1}));
  EXPECT_EQ(counted(2, 5), (std::array<int, 3>{4, 6, 0}));
  EXPECT_EQ(counted(2, 2), (std::array<int, 3>{4, 0, 0}));
  EXPECT_EQ(counted(1, 6), (std::array<int, 3>{2, 4, 0}));
  EXPECT_EQ(counted(6, 1), (std::array<int, 3>{2, 4, 0}));
  EXPECT_EQ(counted(1, 1), (std::array<int, 3>{1, 0, 0}));
}

TEST(PictureRasters, EveryPictureThumbnailTileGridAndFrameIsOne) {
  const auto rasters = picture_rasters(
      token_places(parse_layout("text:2,anyres:2x3+4x6,text:1,image:3x1,text:1,video:2x2x2,text:3")));
  ASSERT_EQ(rasters.size(), 5u);
  EXPECT_EQ(rasters[0].token, (std::vector<int64_t>{2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(rasters[1].kind, Modality::kHighRes);
  EXPECT_EQ(rasters[1].rows, 4);
  EXPECT_EQ(rasters[1].columns, 6);
  EXPECT_EQ(rasters[1].token[6], 8 + 7);  // behind the first row's newline token
  EXPECT_TRUE(rasters[1].complete());
  EXPECT_EQ(rasters[2].block, 1);
  EXPECT_EQ(rasters[3].kind, Modality::kVideo);
  EXPECT_EQ(rasters[4].token.front(), rasters[3].token.back() + 1);
}

/// text 2, a picture of 3 x 4 at 2..13, text 4 at 14..17.
const char* const kLayout = "text:2,image:3x4,text:4";

/// Rows of the asked tokens of a picture of text, as the decoder would show them.
at::Tensor rows_over(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& queries) {
  const at::Tensor scores = score_rows(q, k, queries);
  at::Tensor hidden = at::zeros({static_cast<int64_t>(queries.size()), k.size(2)}, at::kBool);
  for (size_t i = 0; i < queries.size(); ++i) {
    for (int64_t key = queries[i] + 1; key < k.size(2); ++key)
      hidden[static_cast<int64_t>(i)][key].fill_(true);
  }
  return softmax_of_visible(scores, hidden);
}

at::Tensor normals(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor values = at::empty(shape, at::kFloat);
  Rng rng = make_rng(seed, {7});
  boost::random::normal_distribution<double> normal;
  auto* out = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) out[i] = static_cast<float>(normal(rng));
  return values;
}

class Sinks : public ::testing::Test {
 protected:
  SinkSample measured(SinkRows& sinks) {
    ResultWriter writer(folder_.path("s.h5"), Provenance{}, true);
    const SinkSample sample = sinks.finish(writer, "/attention/vanilla");
    writer.commit();
    return sample;
  }
  TokenPlaces places_ = token_places(parse_layout(kLayout));
  TemporaryFolder folder_;
};

TEST_F(Sinks, SharesOfRowsMadeByHand) {
  SinkOptions options;
  options.draws = 19;
  options.times = 3;
  SinkRows sinks(places_, {3, 17, 15, 16, 15}, options, 0, {0, 2}, {0, 1});
  EXPECT_EQ(sinks.queries(), (std::vector<int64_t>{15, 16, 17}));  // those behind the picture
  at::Tensor rows = at::zeros({2, 3, 18});
  rows.select(2, 0).fill_(0.5);      // half on text
  rows[0].select(1, 2).fill_(0.4);   // head 0: the first corner,
  rows[0].select(1, 3).fill_(0.05);  // and an edge, and an interior cell
  rows[0].select(1, 7).fill_(0.05);
  rows[1].narrow(1, 2, 12).fill_(0.5 / 12);  // head 1: everywhere
  at::Tensor hidden = at::full({18, 8}, 1.0);
  sinks.entering(0, hidden);
  sinks.take(0, rows);
  sinks.entering(1, hidden * 50);  // not measured
  hidden[2][0] = 100.0;
  sinks.entering(2, hidden);
  sinks.take(2, rows);
  const SinkSample sample = measured(sinks);
  EXPECT_TRUE(all_close(sample.picture_share, at::full({2, 2}, 0.5, at::kDouble), 1e-6));
  EXPECT_TRUE(all_close(sample.share[0][1], at::tensor({0.8, 4.0 / 12}, at::kDouble), 1e-6));
  EXPECT_TRUE(all_close(sample.share[1][0], at::tensor({0.1, 6.0 / 12}, at::kDouble), 1e-6));
  EXPECT_TRUE(all_close(sample.share[2][0], at::tensor({0.1, 2.0 / 12}, at::kDouble), 1e-6));
  EXPECT_NEAR(sample.uniform[0] + sample.uniform[1] + sample.uniform[2], 1, 1e-12);
  // Over both heads the corner has (0.4 + 0.0417) / 1 of the picture, 5.3 mean cells; its embedding is as long as the
  // others', so it is a sink of the language model.
  EXPECT_TRUE(all_close(sample.l_sinks, at::tensor({1.0, 1.0}, at::kDouble), 0));
  EXPECT_EQ(sample.v_sinks.sum().item<double>(), 0);
  EXPECT_TRUE(all_close(sample.l_share[0], at::tensor({0.8, 1.0 / 12}, at::kDouble), 1e-6));
  const ResultReader file(folder_.path("s.h5"));
  const std::string cells = "/attention/vanilla/sink_cells/";
  EXPECT_NEAR(file.read(cells + "received")[0][0].item<double>(), 12 * (0.4 + 0.5 / 12), 1e-5);
  // 100 beside seven ones: the largest channel in units of the rms.
  EXPECT_NEAR(file.read(cells + "massive")[1][0].item<double>(), 100 / std::sqrt((1e4 + 7) / 8), 1e-5);
  EXPECT_NEAR(file.read(cells + "massive")[0][0].item<double>(), 1, 1e-6);
}

TEST_F(Sinks, ALongEmbeddingMakesItASinkOfTheTower) {
  SinkOptions options;
  options.draws = 19;
  options.times = 3;
  SinkRows sinks(places_, {17}, options, 0, {1}, {0});
  at::Tensor hidden = at::full({18, 8}, 1.0);
  hidden[2].fill_(3.5);
  sinks.entering(0, hidden);  // (of a layer that is not measured)
  at::Tensor rows = at::zeros({1, 1, 18});
  rows[0][0][2] = 0.5;
  rows[0][0][13] = 0.5;
  sinks.take(1, rows);
  const SinkSample sample = measured(sinks);
  EXPECT_EQ(sample.v_sinks.item<double>(), 1);
  EXPECT_EQ(sample.l_sinks.item<double>(), 1);
  EXPECT_NEAR(sample.v_share.item<double>(), 0.5, 1e-7);
}

TEST_F(Sinks, NobodyLooksOrNothingIsSeen) {
  EXPECT_THROW(SinkRows(places_, {3, 5}, {}, 0, {0}, {0}), UsageError);
  EXPECT_THROW(SinkRows(token_places(parse_layout("text:9")), {8}, {}, 0, {0}, {0}), UsageError);
}

// Keys in random directions are what the null says: about one head in twenty is beyond its 5 %, and correction leaves none
// or hardly any. Keys that point where queries point are found in every head.
TEST_F(Sinks, NullHoldsItsLevelAndFindsAPlantedCorner) {
  constexpr int64_t kHeads = 240;
  SinkOptions options;
  options.draws = 99;
  options.seed = 3;
  std::vector<int64_t> heads(kHeads);
  for (int64_t h = 0; h < kHeads; ++h) heads[static_cast<size_t>(h)] = h;
  const at::Tensor q = normals({1, kHeads, 18, 16}, 1) * 2.0;
  at::Tensor k = normals({1, kHeads, 18, 16}, 2);
  const std::vector<int64_t> asked = {14, 15, 16, 17};
  const auto summary_of = [&] {
    SinkRows sinks(places_, asked, options, 0, {0}, heads);
    sinks.entering(0, at::full({18, 8}, 1.0));
    sinks.take(0, rows_over(q, k, asked)[0]);
    sinks.take_null(0, k, [&](const std::vector<int64_t>& queries, const at::Tensor& keys) {
      return rows_over(q, keys, queries);
    });
    SinkSummary summary;
    summary.add(measured(sinks));
    return summary;
  };
  const SinkSummary chance = summary_of();
  const double margin = 3 * std::sqrt(0.05 * 0.95 / kHeads);
  for (const CellClass which : {CellClass::kCorner, CellClass::kEdge, CellClass::kInterior}) {
    EXPECT_NEAR(chance.of(which).above, 0.05, margin);
    EXPECT_LT(chance.of(which).rejected, 0.01);
  }
  // The corner at token 5 points along the mean of the queries.
  k.select(2, 5).copy_(q.narrow(2, 14, 4).mean(2) * 4);
  const SinkSummary planted = summary_of();
  EXPECT_GT(planted.of(CellClass::kCorner).rejected, 0.9);
  EXPECT_LT(planted.of(CellClass::kInterior).above, 0.02);
  EXPECT_NEAR(planted.of(CellClass::kCorner).uniform, 4.0 / 12, 1e-12);
}

TEST(NullDistribution, PValuesQuantilesAndFalseDiscoveriesByHand) {
  const at::Tensor draws =
      at::tensor({1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0}, at::kDouble).unsqueeze(1);
  const NullTest test = test_against_null(at::tensor({8.0}, at::kDouble), draws);
  EXPECT_NEAR(test.p_above.item<double>(), 3.0 / 10, 1e-12);  // 8, 9 and itself
  EXPECT_NEAR(test.p_two_sided.item<double>(), 6.0 / 10, 1e-12);
  EXPECT_NEAR(test.low.item<double>(), 1.2, 1e-12);
  EXPECT_NEAR(test.high.item<double>(), 8.8, 1e-12);
  EXPECT_TRUE(std::isnan(test_against_null(at::tensor({NAN}, at::kDouble), draws).p_above.item<double>()));
  // The example of Benjamini and Hochberg's own paper: 15 hypotheses, four rejected.
  const at::Tensor p = at::tensor({0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459,
                                   0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000},
                                  at::kDouble);
  EXPECT_EQ(false_discovery_rejections(p).sum().item<int64_t>(), 4);
  at::Tensor with_gap = p.clone();
  with_gap[14] = NAN;  // no test: 14 of them, and the limits rise a little
  EXPECT_EQ(false_discovery_rejections(with_gap).sum().item<int64_t>(), 4);
  EXPECT_NEAR(share_of_tests(false_discovery_rejections(with_gap), with_gap), 4.0 / 14, 1e-12);
}

// Two inputs: the mean over both against the means of their draws.
TEST(HeadStatistic, InputsAreAveragedWithTheirDraws) {
  HeadStatistic statistic;
  const auto one = [](double x) { return at::full({1, 1}, x, at::kDouble); };
  statistic.add(one(3), at::tensor({0.0, 1.0, 2.0, 9.0}, at::kDouble).view({4, 1, 1}));
  statistic.add(one(5), at::tensor({0.0, 9.0, 2.0, 9.0}, at::kDouble).view({4, 1, 1}));
  statistic.add(one(NAN), at::full({4, 1, 1}, 100.0, at::kDouble));  // says nothing
  const NullTest test = statistic.test();                            // 4 against 0, 5, 2, 9
  EXPECT_NEAR(test.p_above.item<double>(), 3.0 / 5, 1e-12);
  EXPECT_NEAR(test.mean.item<double>(), 4, 1e-12);
  const InputMeans means = means_over_inputs(statistic.by_input());
  EXPECT_NEAR(means.mean.item<double>(), 4, 1e-12);
  EXPECT_NEAR(means.ci95_high.item<double>(), 4 + student_quantile(0.95, 1), 1e-9);
}

}  // namespace
}  // namespace ropescope::sinks_test
