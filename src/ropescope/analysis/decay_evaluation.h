// Curves of decay coefficients: every row at every distance, the parts of a model each under its own frequencies.
#pragma once

#include <vector>

#include "ropescope/analysis/decay.h"
#include "ropescope/analysis/decay_coefficients.h"

namespace ropescope {

/// Rows that are evaluated together, and where each sort begins. One evaluation shares its sines among all.
struct RowBlock {
  at::Tensor rows;  ///< [R, 2h], scaled as the rotation scales logits
  /// Of the whole: its share of the mean, bands, deviations, spread (none where layers do not rotate); of its layers:
  /// means, deviations, heads; of its kinds.
  int64_t bands = 0, deviations = 0, spread = 0, layers = 0, layer_deviations = 0, heads = 0, kinds = 0,
          end = 0;
  std::vector<int64_t> layer_index, kind_index;
  std::vector<int64_t> kind_end;  ///< of each kind: its mean, then its deviations, up to here
  LayerRotation rotation;
  double mean_norm = 0;
  bool turns = true;
};

/// One column: everything that its distances share.
struct DecayColumn {
  std::vector<RowBlock> blocks;  ///< those that turn first
  double quantile = 0;           ///< Student quantile for the overall mean
  std::vector<double> kind_quantiles;
  at::Tensor layer_quantiles;  ///< [L, 1]
};

/// `result` is allocated: what it has no room for is not evaluated.
DecayColumn make_column(const DecayCoefficients& coefficients, const DecayLayers& layers,
                        int64_t max_position_embeddings, const BaseChange& change, const DecayResult& result);

/// Fills the curves of all columns.
void evaluate_columns(const std::vector<DecayColumn>& columns, DecayResult& result);

}  // namespace ropescope
