// Phase drift measured on patterns that are known to move, to stand still, or to do neither.
#include "ropescope/analysis/attention_drift.h"

#include <cmath>
#include <numeric>

#include <boost/random/normal_distribution.hpp>
#include <gtest/gtest.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/random.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/attention_rows.h"
#include "ropescope/rope/rotation.h"

#include "tests/support/golden.h"

namespace ropescope::drift_test {
namespace {

using testing::all_close;

constexpr int64_t kHeads = 60, kDim = 48, kRows = 8, kColumns = 9, kFirst = 2, kText = 40;
const char* const kLayout = "text:2,image:8x9,text:3";

at::Tensor normals(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor values = at::empty(shape, at::kFloat);
  Rng rng = make_rng(seed, {11});
  boost::random::normal_distribution<double> normal;
  auto* out = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) out[i] = static_cast<float>(normal(rng));
  return values;
}

/// q and k of all tokens, turned as the scheme says, as attention rows of the text behind the picture.
struct Pass {
  explicit Pass(const std::string& text)
      : scheme(text),
        layout(parse_layout(kLayout)),
        positions(scheme.positions(layout)),
        frequencies(scheme.frequencies(RopeConfig{}, kDim, kHeads, 0, 200)),
        places(token_places(layout)) {
    asked.resize(static_cast<size_t>(kText));
    std::iota(asked.begin(), asked.end(), layout.tokens());
  }
  DriftPrediction predicted() const {
    std::vector<int64_t> cells(static_cast<size_t>(kRows * kColumns));
    std::iota(cells.begin(), cells.end(), kFirst);
    return predict_drift(scheme, positions, frequencies, cells, kRows, kColumns);
  }
  /// [kHeads, kText, tokens]; q [1, H, kText, D] of the generated tokens, k [1, H, cells, D].
  at::Tensor rows(const at::Tensor& q, const at::Tensor& k) const {
    const at::Tensor later = scheme.generated_positions(positions, 0, kText);
    const at::Tensor ids =
        positions.anchors.defined()
            ? at::ones({positions.coordinates.size(0), kText}, at::kDouble) * positions.next_anchor
            : later;
    const at::Tensor cells = positions.coordinates.narrow(1, kFirst, kRows * kColumns);
    const at::Tensor turned_q = apply_rotary(q, make_rotary_table(ids.unsqueeze(1), frequencies));
    const at::Tensor turned_k = apply_rotary(k, make_rotary_table(cells.unsqueeze(1), frequencies));
    std::vector<int64_t> all(static_cast<size_t>(kText));
    std::iota(all.begin(), all.end(), 0);
    const at::Tensor on_cells = score_rows(turned_q, turned_k, all).softmax(-1)[0];
    at::Tensor rows = at::zeros({kHeads, kText, layout.tokens() + kText});
    rows.narrow(2, kFirst, kRows * kColumns).copy_(on_cells * 0.5);
    return rows;
  }

  Scheme scheme;
  Layout layout;
  Positions positions;
  Frequencies frequencies;
  TokenPlaces places;
  std::vector<int64_t> asked;
};

DriftSample sample_of(const Pass& pass, const at::Tensor& rows, int64_t draws = 99) {
  DriftRows drift(pass.places, pass.asked, {draws, 5}, pass.predicted(), 1, kHeads);
  EXPECT_EQ(drift.queries(), pass.asked);
  drift.take(0, rows);
  return drift.finish();
}

DriftSummary summary_of(const Pass& pass, const at::Tensor& rows) {
  DriftSummary summary;
  summary.add(sample_of(pass, rows));
  return summary;
}

/// One query for all tokens, one key for all cells: nothing but positions.
std::pair<at::Tensor, at::Tensor> same_everywhere() {
  return {normals({1, kHeads, 1, kDim}, 1).expand({1, kHeads, kText, kDim}).contiguous() * 2.0,
          normals({1, kHeads, 1, kDim}, 2).expand({1, kHeads, kRows * kColumns, kDim}).contiguous()};
}

// The fastest channels of rows and of columns alone: at every lag the pattern is found again exactly that many cells further
// on. With channels of random strengths and phases all heads march but those whose fast channels are weak: a wide pattern
// hardly changes.
TEST(AttentionDrift, APatternOfPositionsAloneMarchesOneCellAToken) {
  const auto [q, k] = same_everywhere();
  for (const char* scheme : {"mrope-interleave", "mrope-interleave:spatial_reset=true"}) {
    SCOPED_TRACE(scheme);
    const Pass pass(scheme);
    at::Tensor fast = at::zeros_like(q);
    for (const int64_t channel : {int64_t{1}, int64_t{2}, 1 + kDim / 2, 2 + kDim / 2})
      fast.select(3, channel).fill_(1.0);
    const DriftSample even = sample_of(pass, pass.rows(fast, at::ones_like(k)), 19);
    const DriftSummary summary = summary_of(pass, pass.rows(q, k));
    for (size_t axis = 0; axis < 2; ++axis) {
      for (int64_t m = 1; m <= kLags; ++m)
        EXPECT_EQ(even.correlation[axis][0][0][m - 1].argmax().item<int64_t>(), kMostShift + m);
      const DriftSummary::Axis numbers = summary.axis(axis);
      EXPECT_EQ(numbers.predicted, 1);
      EXPECT_EQ(numbers.shift, 1);
      EXPECT_EQ(numbers.lag, 1);
      EXPECT_GT(numbers.at_prediction, 0.8);
      EXPECT_GT(numbers.marching, 0.8);
    }
  }
  // Columns of a picture that is counted cell by cell; its rows stand still but where a row goes on in the next.
  const Pass counted("vanilla");
  const DriftSummary summary = summary_of(counted, counted.rows(q, k));
  EXPECT_EQ(summary.axis(1).predicted, 1);
  EXPECT_GT(summary.axis(1).marching, 0.8);
  EXPECT_EQ(summary.axis(0).predicted, 0);
}

// Anchored ids: with one query for all tokens nothing changes at all, and there is nothing to test.
TEST(AttentionDrift, FrozenIdsDoNotMove) {
  const auto [q, k] = same_everywhere();
  const Pass pass("dipe+mrope-interleave");
  EXPECT_EQ(pass.predicted().kind, DriftPrediction::Kind::kNone);
  const DriftSample sample = sample_of(pass, pass.rows(q, k));
  EXPECT_TRUE(sample.asymmetry[0].isnan().all().item<bool>());
  EXPECT_LT(sample.slope[0].abs().max().item<double>(), 1e-6);
}

// Content alone: about one head in twenty is beyond 5 %, with frozen ids whatever queries and keys are, and under ids that
// move where no position is left (h and w turn no channel).
TEST(AttentionDrift, NullHoldsItsLevel) {
  const Pass pass("dipe+mrope-interleave");
  const at::Tensor q = normals({1, kHeads, kText, kDim}, 3) * 2.0,
                   k = normals({1, kHeads, kRows * kColumns, kDim}, 4);
  DriftSummary summary;
  summary.add(sample_of(pass, pass.rows(q, k)));
  const double margin = 3 * std::sqrt(0.05 * 0.95 / kHeads);
  for (size_t axis = 0; axis < 2; ++axis) {
    EXPECT_NEAR(summary.axis(axis).above, 0.05, margin);
    EXPECT_LT(summary.axis(axis).marching, 0.02);
    EXPECT_LT(summary.axis(axis).slope_rejected, 0.02);
  }
}

// Positions under content: keys and queries with a common part. The march is found, and freezing the ids takes it away.
TEST(AttentionDrift, TheMarchIsFoundUnderContent) {
  const auto [same_q, same_k] = same_everywhere();
  const at::Tensor q = same_q + normals({1, kHeads, kText, kDim}, 3),
                   k = same_k + normals({1, kHeads, kRows * kColumns, kDim}, 4);
  const Pass moving("mrope-interleave"), frozen("dipe+mrope-interleave");
  EXPECT_GT(summary_of(moving, moving.rows(q, k)).axis(0).marching, 0.35);
  EXPECT_GT(summary_of(moving, moving.rows(q, k)).axis(1).marching, 0.35);
  EXPECT_LT(summary_of(frozen, frozen.rows(q, k)).axis(0).marching, 0.05);
}

// A second way: centre, slope and correlation of one head, written out.
TEST(AttentionDrift, NumbersOfOneHeadByHand) {
  const Pass pass("mrope-interleave");
  const at::Tensor rows =
      pass.rows(normals({1, kHeads, kText, kDim}, 3), normals({1, kHeads, kRows * kColumns, kDim}, 4));
  const DriftSample sample = sample_of(pass, rows);
  const at::Tensor maps =
      rows[7].narrow(1, kFirst, kRows * kColumns).to(at::kDouble).view({kText, kRows, kColumns});
  const at::Tensor j = at::ones({kText}, at::kDouble).cumsum(0),
                   row = at::ones({kRows}, at::kDouble).cumsum(0);
  const at::Tensor centre = (maps.sum(2) * row).sum(1) / maps.sum({1, 2});
  const at::Tensor deviation = j - j.mean();
  const double slope = ((deviation * centre).sum() / deviation.square().sum()).item<double>();
  EXPECT_NEAR(sample.slope[0][0][7].item<double>(), slope, 1e-10);
  at::Tensor profile = maps.log().mean(2);
  profile = profile - profile.mean(0, true);
  const at::Tensor line = (deviation.unsqueeze(1) * profile).sum(0) / deviation.square().sum();
  profile = profile - deviation.unsqueeze(1) * line.unsqueeze(0);
  const auto rho = [&](int64_t lag, int64_t shift) {
    const int64_t cells = kRows - std::abs(shift);
    at::Tensor now = profile.narrow(0, 0, kText - lag).narrow(1, std::max<int64_t>(0, -shift), cells),
               then = profile.narrow(0, lag, kText - lag).narrow(1, std::max<int64_t>(0, shift), cells);
    now = now - now.mean(1, true);
    then = then - then.mean(1, true);
    return ((now * then).sum() / (now.square().sum() * then.square().sum()).sqrt()).item<double>();
  };
  double asymmetry = 0;
  for (int64_t m = 1; m <= kLags; ++m) {
    asymmetry += (rho(m, m) - rho(m, -m)) / 4;
    for (int64_t s = -4; s <= 4; ++s)
      EXPECT_NEAR(sample.correlation[0][0][7][m - 1][s + 4].item<double>(), rho(m, s), 1e-10);
  }
  EXPECT_NEAR(sample.asymmetry[0][0][7].item<double>(), asymmetry, 1e-10);
  EXPECT_NEAR(sample.likeness[0][0][7][1].item<double>(), (rho(1, 0) + rho(2, 0) + rho(3, 0) + rho(4, 0)) / 4,
              1e-10);
}

TEST(AttentionDrift, TheSameSeedGivesTheSameDraws) {
  const Pass pass("mrope-interleave");
  const at::Tensor rows =
      pass.rows(normals({1, kHeads, kText, kDim}, 3), normals({1, kHeads, kRows * kColumns, kDim}, 4));
  const DriftSample once = sample_of(pass, rows, 19), again = sample_of(pass, rows, 19);
  EXPECT_TRUE(once.asymmetry_draws[1].equal(again.asymmetry_draws[1]));
  EXPECT_FALSE(once.asymmetry_draws[1][0].equal(once.asymmetry_draws[1][1]));
}

TEST(AttentionDrift, RunsOfTokensAndGridsThatAreTooSmall) {
  const TokenPlaces places = token_places(parse_layout("text:1,image:2x5,text:20"));
  // The longest run behind the picture is taken.
  const DriftRows drift(places, {0, 3, 12, 13, 14, 20, 21, 22, 23, 24, 25, 26, 27, 28}, {19, 0}, {}, 1, 1);
  EXPECT_EQ(drift.queries(), (std::vector<int64_t>{20, 21, 22, 23, 24, 25, 26, 27, 28}));
  EXPECT_TRUE(DriftRows(places, {20, 21, 22}, {19, 0}, {}, 1, 1).queries().empty());
  EXPECT_THROW(DriftRows(token_places(parse_layout("text:30")), {20, 21}, {19, 0}, {}, 1, 1), UsageError);
  // Two rows cannot show a shift of one.
  DriftRows small(places, {20, 21, 22, 23, 24, 25, 26, 27}, {19, 0}, {}, 1, 1);
  small.take(0, normals({1, 8, 31}, 9).softmax(-1));
  EXPECT_TRUE(std::isnan(small.finish().asymmetry[0].item<double>()));
  EXPECT_TRUE(std::isfinite(small.finish().asymmetry[1].item<double>()));
}

}  // namespace
}  // namespace ropescope::drift_test
