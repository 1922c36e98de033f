// The gain over theta: which pairs make a curve, where it ends, how it goes; of made-up runs whose gains are known.
#include "miniature/gain.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include <ATen/ops/linalg_lstsq.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/tensor_operators.h"

#include "tests/miniature/made_up_runs.h"
#include "tests/support/golden.h"

namespace ropescope::miniature {
namespace {

constexpr int64_t kAsked = 100000;

/// A run whose four shares are `share` at its only point.
miniature::Run run_with(const std::string& scheme, double theta, int64_t seed, double share,
                        const Json& scaling = {}) {
  const std::array<int64_t, 2> score = {std::lround(share * kAsked), kAsked};
  Json run = made_up_run(scheme, seed, {{100, scores_of(score, score)}}, theta);
  if (!scaling.is_null()) run["scaling"] = scaling;
  return parse_run(run, "a run");
}

std::vector<GainCurve> curves_of(const std::vector<miniature::Run>& runs) {
  const std::vector<Row> rows = make_rows(runs, {"vanilla", "id-align"});
  return gain_curves(rows, compare_rows(rows, "vanilla"));
}

/// Ten seeds a theta: the gain of each, spread by `spread` around it.
void add_pair(std::vector<miniature::Run>& runs, double theta, double gain, double spread,
              const Json& scaling = {}) {
  for (int64_t seed = 0; seed < 10; ++seed) {
    const double base = 0.4 + 0.01 * static_cast<double>(seed);
    const double off = spread * (static_cast<double>(seed) - 4.5);
    runs.push_back(run_with("vanilla", theta, seed, base, scaling));
    runs.push_back(run_with("id-align", theta, seed, base + gain + off, scaling));
  }
}

TEST(Gain, EndsWhereNoMoreIsResolved) {
  std::vector<miniature::Run> runs;
  add_pair(runs, 1e2, 0.0, 0.01);
  add_pair(runs, 1e3, 0.1, 0.001);
  add_pair(runs, 1e4, 0.0, 0.01);
  add_pair(runs, 1e5, 0.3, 0.001);
  add_pair(runs, 1e6, -0.1, 0.001);  // a resolved loss is no gain
  const std::vector<GainCurve> curves = curves_of(runs);
  ASSERT_EQ(curves.size(), 1U);
  EXPECT_EQ(curves[0].name(), "id-align − vanilla");
  EXPECT_EQ(curves[0].longest, 1 + 16 + 8 * 8 + 8 + 2 * 8);  // 8x8 patches, a newline a row
  for (size_t m = 0; m < kMeasures; ++m) {
    const GainEnds ends = gain_ends(curves[0], m);
    EXPECT_EQ(ends.lowest, 1e3);
    EXPECT_EQ(ends.highest, 1e5);
    EXPECT_EQ(ends.open, std::vector<double>{1e4});
  }
  const std::string table = gain_table(curves);
  EXPECT_NE(
      table.find("| id-align − vanilla | answers, unseen grids | 1000 (1.05×10⁵) | 10⁵ (1.05×10⁷) | 10⁴ | "
                 "+0.30 [+0.30, +0.30] | 10⁵ |"),
      std::string::npos)
      << table;
  EXPECT_NE(gain_csv(curves).find("\"id-align\",\"vanilla\",1,100,,1e+06,105,answers_seen,10,-0.10000,"),
            std::string::npos)
      << gain_csv(curves);
}

TEST(Gain, SaysNoneWhereNoneIsResolved) {
  std::vector<miniature::Run> runs;
  for (const double theta : {1e2, 1e4, 1e6}) add_pair(runs, theta, 0.0, 0.01);
  EXPECT_NE(gain_table(curves_of(runs)).find("| correspondence, seen grids | none | none | — |"),
            std::string::npos);
}

TEST(Gain, IsOfPairsUnderSeveralThetasAndTheirScalings) {
  std::vector<miniature::Run> runs;
  for (const double theta : {1e3, 1e4}) add_pair(runs, theta, 0.2, 0.001);
  add_pair(runs, 1e4, 0.1, 0.001, {{"rope_type", "yarn"}, {"factor", 4.0}});
  for (int64_t seed = 0; seed < 10; ++seed) {  // one theta alone
    runs.push_back(run_with("mrope", 1e4, seed, 0.3));
    runs.push_back(run_with("id-align+mrope", 1e4, seed, 0.4));
  }
  const std::vector<GainCurve> curves = curves_of(runs);
  ASSERT_EQ(curves.size(), 2U);
  const auto yarn = std::find_if(curves.begin(), curves.end(),
                                 [](const GainCurve& curve) { return !curve.scaling.empty(); });
  ASSERT_NE(yarn, curves.end());
  EXPECT_EQ(yarn->name(), "id-align − vanilla, yarn:4");
  ASSERT_EQ(yarn->points.size(), 1U);
  EXPECT_NEAR(yarn->points[0].gains[0].interval.mean, 0.1, 1e-9);
  // Without a second theta there is nothing to draw.
  std::vector<miniature::Run> one;
  add_pair(one, 1e4, 0.2, 0.001);
  EXPECT_TRUE(curves_of(one).empty());
  const testing::TemporaryFolder folder;
  draw_gain(folder.path("gain.png"), curves);
  EXPECT_GT(std::filesystem::file_size(folder.path("gain.png")), 1000U);
}

// Compressed runs make curves of their own; a measure that no token of a seed is asked for is no gain of that seed.
TEST(Gain, StaysWithinOneCompressionAndSkipsWhatIsNotAsked) {
  std::vector<miniature::Run> runs;
  for (const double theta : {1e3, 1e4, 1e5}) {
    add_pair(runs, theta, 0.3, 0.001);
    for (int64_t seed = 0; seed < 3; ++seed) {
      for (const auto& [scheme, share] :
           {std::pair{"vanilla", 0.2}, {"id-align", 0.2 + 0.1 * std::log10(theta)}}) {
        miniature::Run run = run_with(scheme, theta, seed, share);
        run.compress = "pool-4";
        run.left = {0.0625, 0.0625, 0.1, 0.1};
        if (seed == 0) run.curves[0].back() = std::nan("");
        run.curves[1].back() = std::nan("");
        runs.push_back(run);
      }
    }
  }
  const std::vector<GainCurve> curves = curves_of(runs);
  ASSERT_EQ(curves.size(), 2U);
  const GainCurve& pooled = curves[curves[0].compress.empty() ? 1 : 0];
  EXPECT_EQ(pooled.name(), "id-align − vanilla (pool-4)");
  ASSERT_EQ(pooled.points.size(), 3U);
  EXPECT_EQ(pooled.points[0].gains[0].seeds, (std::vector<int64_t>{1, 2}));
  EXPECT_NEAR(pooled.points[0].gains[2].interval.mean, 0.3, 1e-9);
  const GainTrend known = gain_trend(pooled, 0), none = gain_trend(pooled, 1);
  EXPECT_EQ(known.slope.count, 2);
  EXPECT_NEAR(known.slope.mean, 0.1, 1e-9);
  EXPECT_TRUE(std::isnan(none.slope.mean));
  const std::string table = gain_table(curves);
  EXPECT_NE(table.find("| id-align − vanilla (pool-4) | correspondence, seen grids |"), std::string::npos)
      << table;
  EXPECT_EQ(table.find("| id-align − vanilla (pool-4) | correspondence, unseen grids |"), std::string::npos)
      << table;
  const testing::TemporaryFolder folder;
  draw_gain(folder.path("gain.png"), {pooled});
  EXPECT_GT(std::filesystem::file_size(folder.path("gain.png")), 1000U);
}

// Slope and bend against least squares of one and two coefficients over thetas that are not evenly spaced.
TEST(Gain, TrendIsThatOfLeastSquares) {
  const std::vector<double> thetas = {1e2, 3.2e2, 1e4, 1e5, 3.2e7};
  std::vector<miniature::Run> runs;
  std::vector<double> gains, powers;
  for (size_t i = 0; i < thetas.size(); ++i) {
    const double x = std::log10(thetas[i]);
    powers.insert(powers.end(), {1, x, x * x});
    for (int64_t seed = 0; seed < 3; ++seed) {
      const double gain = 0.2 + 0.03 * x - 0.004 * x * x + 0.01 * static_cast<double>((seed + 1) * (i % 2));
      const miniature::Run with = run_with("id-align", thetas[i], seed, 0.3 + gain);
      runs.push_back(run_with("vanilla", thetas[i], seed, 0.3));
      runs.push_back(with);
      gains.push_back(with.curves[0][0] - 0.3);
    }
  }
  const at::Tensor x = at::tensor(powers, at::kDouble).view({-1, 3}),
                   y = at::tensor(gains, at::kDouble).view({-1, 3});  // a column a seed
  const at::Tensor line = std::get<0>(at::linalg_lstsq(x.narrow(1, 0, 2), y)),
                   arch = std::get<0>(at::linalg_lstsq(x, y));
  const std::vector<GainCurve> curves = curves_of(runs);
  ASSERT_EQ(curves.size(), 1U);
  const GainTrend trend = gain_trend(curves[0], 0);
  EXPECT_NEAR(trend.slope.mean, line[1].mean().item<double>(), 1e-9);
  EXPECT_NEAR(trend.bend.mean, arch[2].mean().item<double>(), 1e-9);
  EXPECT_EQ(trend.bend.count, 3);
  EXPECT_LT(trend.bend.mean, 0);
  EXPECT_DOUBLE_EQ(trend.slope_p, 0.25);  // one sign in three seeds
}

}  // namespace
}  // namespace ropescope::miniature
