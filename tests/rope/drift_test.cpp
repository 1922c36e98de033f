// Phase drift in closed form, beside the pattern that positions make when it is summed channel by channel.
#include "ropescope/rope/drift.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "ropescope/rope/frequencies.h"

namespace ropescope::drift_test {
namespace {

constexpr int64_t kRows = 5, kColumns = 7;
const char* const kLayout = "text:3,image:5x7,text:4";

struct Placed {
  explicit Placed(const std::string& text)
      : scheme(text),
        positions(scheme.positions(parse_layout(kLayout), 0)),
        frequencies(scheme.frequencies(RopeConfig{}, 32, 3, 0, 100)),
        cells(static_cast<size_t>(kRows * kColumns)) {
    std::iota(cells.begin(), cells.end(), 3);
  }
  DriftPrediction predicted() const {
    return predict_drift(scheme, positions, frequencies, cells, kRows, kColumns);
  }
  /// Sum over channels of a_i cos(f_i d_i + b_i): the j-th generated token on a cell, in the last head (where mhrope turns by columns).
  double pattern(int64_t j, int64_t row, int64_t column) const {
    const at::Tensor later = scheme.generated_positions(positions, j, 1);
    const int64_t token = cells[static_cast<size_t>(row * kColumns + column)];
    double sum = 0;
    for (int64_t i = 0; i < frequencies.inv_freq.size(0); ++i) {
      const auto axis = frequencies.axis[-1][i].item<int64_t>();
      if (axis < 0) continue;
      const double query =
          positions.anchors.defined() ? positions.next_anchor : later[axis][0].item<double>();
      const double distance = query - positions.coordinates[axis][token].item<double>();
      sum += std::cos(1.7 * static_cast<double>(i)) *
             std::cos(frequencies.inv_freq[i].item<double>() * distance + 0.9 * static_cast<double>(i));
    }
    return sum;
  }
  /// Spread over cells of pattern(j + 1, cell + shift) - pattern(j, cell): 0 where that is the shift.
  double mismatch(int64_t rows, int64_t columns) const {
    double least = INFINITY, most = -INFINITY;
    for (int64_t row = 0; row + rows < kRows; ++row) {
      for (int64_t column = 0; column + columns < kColumns; ++column) {
        const double change = pattern(5, row + rows, column + columns) - pattern(4, row, column);
        least = std::min(least, change);
        most = std::max(most, change);
      }
    }
    return most - least;
  }

  Scheme scheme;
  Positions positions;
  Frequencies frequencies;
  std::vector<int64_t> cells;
};

struct Expected {
  const char* scheme;
  DriftPrediction::Kind kind;
  double rows, columns;
};

class Drift : public ::testing::TestWithParam<Expected> {};

TEST_P(Drift, IsTheShiftThatTheSummedPatternHas) {
  const Expected& expected = GetParam();
  const Placed placed(expected.scheme);
  const DriftPrediction predicted = placed.predicted();
  EXPECT_EQ(predicted.kind, expected.kind);
  if (expected.kind == DriftPrediction::Kind::kOther) {
    EXPECT_TRUE(std::isnan(predicted.rows) && std::isnan(predicted.columns));
    for (int64_t rows = 0; rows < 3; ++rows) {
      for (int64_t columns = 0; columns < 3; ++columns) EXPECT_GT(placed.mismatch(rows, columns), 0.01);
    }
    return;
  }
  EXPECT_NEAR(predicted.rows, expected.rows, 1e-9);
  EXPECT_NEAR(predicted.columns, expected.columns, 1e-9);
  EXPECT_LT(placed.mismatch(static_cast<int64_t>(expected.rows), static_cast<int64_t>(expected.columns)),
            1e-9);
  if (expected.kind == DriftPrediction::Kind::kNone) {
    EXPECT_EQ(predicted.phase, 0);
  } else {
    EXPECT_GT(placed.mismatch(0, 0), 1e-3);  // (chunked: rows and columns on slow channels)
    EXPECT_GT(predicted.phase, 0);
  }
}

using Kind = DriftPrediction::Kind;
INSTANTIATE_TEST_SUITE_P(
    Schemes, Drift,
    ::testing::Values(Expected{"vanilla", Kind::kShift, 0, 1}, Expected{"v2pe:delta=0.5", Kind::kShift, 0, 2},
                      Expected{"mrope", Kind::kShift, 1, 1}, Expected{"mrope-interleave", Kind::kShift, 1, 1},
                      Expected{"mrope-interleave:spatial_reset=true", Kind::kShift, 1, 1},
                      Expected{"mhrope:sections=1/1/1", Kind::kShift, 1, 1},
                      Expected{"ilrope:text_spatial_zero=true", Kind::kNone, 0, 0},
                      Expected{"dipe", Kind::kNone, 0, 0}, Expected{"vanilla/none", Kind::kNone, 0, 0},
                      Expected{"circlerope:radius=10,alpha=0.5", Kind::kOther, 0, 0}));

// The share of a turn that one token makes is the fastest channel's that cells differ on: index 1 of interleaved sections
// (t, h, w, ...), the first of a chunk.
TEST(DriftPhase, IsTheFastestSpatialChannels) {
  EXPECT_NEAR(Placed("mrope-interleave").predicted().phase, std::pow(10000.0, -1.0 / 16), 1e-12);
  EXPECT_NEAR(Placed("mrope:sections=4/6/6").predicted().phase, std::pow(10000.0, -4.0 / 16), 1e-12);
  EXPECT_NEAR(Placed("vanilla").predicted().phase, 1.0, 1e-12);
}

TEST(DriftPhase, OneRowMovesAlongItsColumns) {
  const Scheme scheme("mrope-interleave");
  const Layout layout = parse_layout("text:1,image:1x6,text:1");
  const DriftPrediction predicted =
      predict_drift(scheme, scheme.positions(layout), scheme.frequencies(RopeConfig{}, 32, 1, 0, 100),
                    {1, 2, 3, 4, 5, 6}, 1, 6);
  EXPECT_EQ(predicted.kind, Kind::kShift);
  EXPECT_EQ(predicted.rows, 0);
  EXPECT_NEAR(predicted.columns, 1, 1e-9);
}

}  // namespace
}  // namespace ropescope::drift_test
