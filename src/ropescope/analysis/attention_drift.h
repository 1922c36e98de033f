// Phase drift, measured: whether the pattern of attention on a picture moves as text goes on behind it (rope/drift.h says in
// closed form how positions alone would move it).
//
// Of a head and a raster (a picture's thumbnail or only grid, a frame), tokens j = 0, 1, ... of a run of text behind the
// pictures look at cells (r, c) with attention a_j(r, c):
//   centre slope   the attention's centre, sum_c a_j c / sum a_j, against j: least squares, cells a token. It is bounded by
//                  the grid, comes back where the pattern has a period shorter than the grid, and what the picture shows
//                  pulls at it: a march of one cell a token shows as a slope far below 1.
//   shift          so the shape is asked: P_j(r) = mean over columns of ln a_j(r, c), less a straight line over j (what the
//                  picture shows stays where it is and drops out, and so do patterns that are so wide that their movement is
//                  a slow change everywhere; in logarithms position and content add).
//                  rho(m, s) = sum_j sum_r P_j(r) P_j+m(r + s), over rows that are in the grid both times, each part less its
//                  mean over them, in units of the parts' root sums of squares. Where it is large, the pattern of one token is
//                  found again m tokens later, s rows further on. Columns the same way.
//   likeness       at a movement of v = -1, 0, 1 times the predicted one: the mean of rho(m g, v m s) over m = 1 ... kLags that
//                  the grid has room for; s cells in g tokens is what the closed form predicts, g the smallest lag that moves
//                  it by whole cells (+1 in 1 where it predicts nothing)
//   asymmetry      likeness at 1 less that at -1. A pattern that stands still, however wide and however slowly it changes, has
//                  none on average.
//   null           the same with the tokens in random order, N times, the same orders for all heads, and for all inputs whose
//                  runs are equally long (they often share their text): p of the asymmetry one-sided, of the centre's slope
//                  two-sided
// A head marches on an axis where its asymmetry remains at a false discovery rate of 5 % over heads and its likeness is largest
// at 1.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/head_statistic.h"
#include "ropescope/analysis/picture_rasters.h"
#include "ropescope/analysis/statistics.h"
#include "ropescope/rope/drift.h"

namespace ropescope {

struct DriftOptions {
  int64_t draws = 199;  ///< orders of the null
  uint64_t seed = 0;
};
/// Shifts that are looked at: -kMostShift to kMostShift cells; and how many lags.
inline constexpr int64_t kMostShift = 4, kLags = 4;
/// Fewer tokens in a row are no measurement.
inline constexpr int64_t kLeastDriftTokens = 8;

/// Profiles of one axis, token by token; what a shift is read from.
class MarchingProfile {
 public:
  /// `profile` [tokens, cells] of logarithms, row by row; its tokens are taken in `order`.
  MarchingProfile(const std::vector<double>& profile, int64_t cells, const std::vector<int64_t>& order);
  /// rho at a lag and a shift; NaN where fewer than two cells, or half of them, remain, or nothing changes.
  double correlation(int64_t lag, int64_t shift) const;
  /// Mean of correlation(m lag, m shift) over the m that the grid and the run have room for; NaN for none.
  double likeness(int64_t lag, int64_t shift, int64_t movement) const;

 private:
  std::vector<double> profile_;
  int64_t tokens_, cells_;
};

/// What one input says under one scheme; [0] rows, [1] columns. float64 [layers, heads], draws [N, layers, heads]; NaN where
/// it cannot be measured (grids of fewer than three cells along the axis, too few tokens, a pattern that does not change).
struct DriftSample {
  std::array<at::Tensor, 2> slope, slope_draws, asymmetry, asymmetry_draws;
  std::array<at::Tensor, 2> correlation;  ///< [layers, heads, kLags, 2 kMostShift + 1]; lags 1, 2, ...
  std::array<at::Tensor, 2> likeness;     ///< [layers, heads, 3]: at -1, 0, 1
  std::array<int64_t, 2> shift{}, lag{};  ///< s and g
  DriftPrediction predicted;              ///< of the first raster
  int64_t tokens = 0;                     ///< in the run
};

/// Of one input, layer by layer.
class DriftRows {
 public:
  /// `asked`: tokens that look; the longest run of consecutive ones behind all pictures is taken. `predicted`: of the input's
  /// first raster, which all others follow. Throws UsageError where there is no picture.
  DriftRows(const TokenPlaces& places, const std::vector<int64_t>& asked, const DriftOptions& options,
            const DriftPrediction& predicted, int64_t layers, int64_t heads);

  const std::vector<int64_t>& queries() const { return queries_; }
  /// Rows [heads, queries(), tokens] of the chosen heads of the slot-th chosen layer.
  void take(int64_t slot, const at::Tensor& rows_HQS);
  DriftSample finish() const { return sample_; }

 private:
  void take_head(int64_t slot, int64_t head, const float* rows, int64_t tokens);

  std::vector<PictureRaster> rasters_;
  std::vector<int64_t> queries_;
  std::vector<std::vector<int64_t>> orders_;  // [0] as they come, then the null's
  DriftSample sample_;
};

/// The rasters that drift is measured on: complete ones that are not high-resolution grids.
std::vector<PictureRaster> drift_rasters(const TokenPlaces& places);

/// Over inputs, of one scheme.
class DriftSummary {
 public:
  struct Axis {
    int64_t shift = 0, lag = 0;
    double predicted = 0;  ///< cells a token; NaN: no shift of the grid
    double above = 0;      ///< share of heads whose p of the asymmetry is below 0.05; chance gives 0.05
    double at_prediction =
        0;  ///< share of heads whose rho is largest at the shift; chance: 1 of the shifts looked at
    double marching = 0;        ///< share of heads that march
    MeanInterval slope;         ///< centre's, over inputs, of the mean over layers and heads
    double slope_rejected = 0;  ///< share of heads whose slope remains at a false discovery rate of 5 %
  };

  void add(const DriftSample& sample);
  const DriftPrediction& predicted() const { return samples_.front().predicted; }
  std::vector<int64_t> tokens() const;  ///< of each input
  /// 0 rows, 1 columns.
  Axis axis(size_t which) const;
  /// group/drift: rows and columns, each with {asymmetry, p, ...}, centre/{slope, p, ...}, correlation, likeness, marching;
  /// shift, lag.
  void write(ResultWriter& writer, const std::string& group, const DriftOptions& options) const;

 private:
  at::Tensor mean_of(std::array<at::Tensor, 2> DriftSample::*what, size_t which) const;  ///< over inputs
  at::Tensor moves(size_t which) const;  ///< bool [layers, heads]: likeness is largest at 1

  std::vector<DriftSample> samples_;  // without their draws
  std::array<HeadStatistic, 2> asymmetry_;
  std::array<HeadStatistic, 2> slope_{HeadStatistic(HeadStatistic::Tail::kTwoSided),
                                      HeadStatistic(HeadStatistic::Tail::kTwoSided)};
};

}  // namespace ropescope
