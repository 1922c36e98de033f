// Sinks by cell: where on a picture the attention of the text behind it gathers, and whether its keys' directions do that.
//
//   share of a class   of the attention that the looking tokens (text behind all pictures) give to cells, the part on corner,
//                      edge or interior cells (picture_rasters.h; every raster has its own corners), all rasters together:
//                      sum over queries of the class's attention / sum over queries of all cells'
//   uniform            the class's share of the cells; times_uniform = share / uniform
//   null               the same share where the key of every cell keeps its length and points in a random direction, drawn
//                      anew N times; queries, all other keys, masks and biases of the layer stay. It leaves what lengths of
//                      keys do and takes away what their directions do (content and rotation: a random direction is still
//                      one after it is turned). One-sided p of the observed share among the draws.
//   sink of a layer    a cell that gets at least `times` the attention of the layer's mean cell (mean over the measured
//                      heads)
//   V-sink             a sink whose embedding, as it comes from the vision tower and its connector, is at least kTowerNorm
//                      times as long as the median cell's of the input: it is there before layer 0
//   L-sink             any other sink: it emerges inside the language model
// arXiv 2604.03316 names the two kinds by where they come from, tower or language model; its thresholds could not be read,
// those here are ours. Beside them stands `massive`, the criterion of Visual Attention Sink (arXiv 2503.03321): the largest
// |channel| of the hidden state that enters the layer in units of its rms, 20 and more being a sink there (of the channels
// that it lists for LLaMA-2; here of all, so that no list is needed).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/head_statistic.h"
#include "ropescope/analysis/picture_rasters.h"
#include "ropescope/analysis/statistics.h"
#include "ropescope/models/decoder.h"

namespace ropescope {

struct SinkOptions {
  int64_t draws = 199;  ///< of the null
  double times = 10;    ///< a sink's attention, in those of the mean cell
  uint64_t seed = 0;
};
/// A V-sink's embedding, in lengths of the median cell's.
inline constexpr double kTowerNorm = 3;

/// What one input says under one scheme. Shares are float64 [layers, heads], NaN where no cell is of the class.
struct SinkSample {
  std::array<at::Tensor, 3> share, draws;  ///< by CellClass; draws [N, layers, heads]
  std::array<double, 3> uniform{};
  at::Tensor picture_share;     ///< of all attention, the part on cells
  at::Tensor v_share, l_share;  ///< of the attention on cells, the part on the layer's V-sinks and L-sinks
  at::Tensor v_sinks, l_sinks;  ///< [layers] float64: how many
};

/// The cells of one input and the attention that they get, layer by layer.
class SinkRows {
 public:
  /// `asked`: tokens of which those behind all pictures look. `layers`, `heads` of the model. `input`: which input this is;
  /// draws depend on it, on layer and head, and on nothing else. Throws UsageError where no token looks, or nothing is seen.
  SinkRows(const TokenPlaces& places, const std::vector<int64_t>& asked, const SinkOptions& options,
           uint64_t input, const std::vector<int64_t>& layers, const std::vector<int64_t>& heads);

  const std::vector<int64_t>& queries() const { return queries_; }
  /// Rows [heads, queries(), tokens] of the chosen heads.
  void take(int64_t layer, const at::Tensor& rows_HQS);
  /// The same layer's null, of all heads of the model.
  void take_null(int64_t layer, const at::Tensor& k_BKSD, const AttentionRows::RowsOver& rows_over);
  /// What enters a layer, [tokens, C].
  void entering(int64_t layer, const at::Tensor& hidden_TC);

  /// After the pass. Cell by cell into group/sink_cells/{token, raster, row, column, class, norm, received, massive}.
  SinkSample finish(ResultWriter& writer, const std::string& group) const;

 private:
  int64_t slot(int64_t layer) const;
  std::array<at::Tensor, 4> masses(const at::Tensor& rows_HQS) const;

  SinkOptions options_;
  uint64_t input_;
  std::vector<int64_t> layers_, heads_, queries_;
  std::vector<int64_t> token_, raster_, row_, column_, class_;  // of each cell
  at::Tensor cells_;                                            // [cells] int64
  std::array<at::Tensor, 3> members_;                           // places among the cells
  at::Tensor by_cell_;     // [layers, heads, cells] float64: attention, mean over queries
  at::Tensor null_share_;  // [N, 3, layers, heads]
  at::Tensor norm_;        // [cells]
  at::Tensor massive_;     // [layers, cells]
};

/// Over inputs, of one scheme.
class SinkSummary {
 public:
  struct OfClass {
    MeanInterval share;   ///< over inputs, of the mean over layers and heads
    double uniform = 0;   ///< mean over inputs
    double above = 0;     ///< share of heads whose p is below 0.05; 0.05 is what chance gives
    double rejected = 0;  ///< share of heads that remain at a false discovery rate of 5 %
  };

  void add(const SinkSample& sample);
  OfClass of(CellClass which) const;
  MeanInterval v_sinks() const { return mean_interval(v_count_); }  ///< a layer, over inputs
  MeanInterval l_sinks() const { return mean_interval(l_count_); }
  MeanInterval v_share() const { return mean_interval(v_share_mean_); }
  MeanInterval l_share() const { return mean_interval(l_share_mean_); }
  /// group/sinks: <class>/{share, times_uniform, ci95_low, ...}, picture_share, v_share, l_share, v_sinks, l_sinks.
  void write(ResultWriter& writer, const std::string& group, const SinkOptions& options) const;

 private:
  std::array<HeadStatistic, 3> classes_;
  std::array<std::vector<double>, 3> uniform_;
  std::vector<at::Tensor> picture_share_, v_share_, l_share_, v_sinks_, l_sinks_;
  std::vector<double> v_count_, l_count_, v_share_mean_, l_share_mean_;
};

}  // namespace ropescope
