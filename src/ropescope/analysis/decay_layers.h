// Which layers of a model turn their queries and keys alike, and by what in each column of a result.
// Notation  L layers, D channels of a head, h = D/2
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/probe/samples.h"

namespace ropescope {

/// What a column does to the bases of the layers that rotate: nothing, one base for all, or a multiple of each.
struct BaseChange {
  std::optional<double> theta;
  double scale = 1;

  double of(double own) const { return theta ? *theta : own * scale; }
  /// "theta 1e+06", "theta x 4"; empty where nothing changes.
  std::string label() const;
};

/// The columns of a result; neither list: one, of the layers' own bases. The checkpoint's context scaling (if any) is applied
/// on top.
struct BaseColumns {
  std::vector<double> theta;        ///< bases that every layer which rotates takes
  std::vector<double> theta_scale;  ///< each layer's own base times this
};

/// The columns, as changes of the layers' own bases.
std::vector<BaseChange> base_changes(const BaseColumns& columns);

/// Where the columns' bases come from: "own", "given" or "scaled".
std::string theta_source(const BaseColumns& columns);

/// Throws UsageError for bases that are not positive, for both lists at once, and for neither where the model's own are
/// not known.
void check_bases(const BaseColumns& columns, const ModelFacts& model);

/// How the channels of a layer turn.
struct LayerRotation {
  at::Tensor inv_freq;  ///< [h] float64; pairs that do not turn have 0
  /// [2h]: what the rotation multiplies coefficients by (YaRN); 1 of channels that it passes over.
  at::Tensor channel_scale;
  double scale = 1;  ///< of the channels that turn
};

/// Layers that turn alike.
struct TurningLayers {
  LayerFacts facts;
  std::vector<int64_t> layers;
  at::Tensor order;  ///< [D] int64, of halves_order; undefined where the channels stand so already
};

/// Layers of one encoding, one window and one name.
struct LayerKind {
  std::string
      name;  ///< "sliding", "full", "no rotation", ...; with its layers where two would be called alike
  std::vector<int64_t> layers;
  LayerFacts facts;
};

/// The measured layers of samples. Layers without samples count to the first part, where they are empty.
struct DecayLayers {
  int64_t count = 0;                   ///< L
  std::vector<TurningLayers> turning;  ///< in the order of their first layers
  std::vector<int64_t> still;          ///< do not rotate
  std::vector<LayerKind> kinds;        ///< empty: the samples do not tell layers apart
  std::vector<int64_t> normed;         ///< normalise q and k after the rotation

  /// Whether one rotation turns every layer.
  bool alike() const { return turning.size() == 1 && still.empty(); }
  /// [L] bool
  at::Tensor among(const std::vector<int64_t>& layers) const;
};

/// `measured`: [L] bool. Where the samples do not say it of each layer, ModelFacts::rope (or plain settings) turns all.
DecayLayers decay_layers(const ModelFacts& model, const at::Tensor& measured);

LayerRotation layer_rotation(const LayerFacts& facts, int64_t max_position_embeddings,
                             const BaseChange& change);

/// The base of all layers that rotate in a column; NaN where they differ or none rotates.
double common_base(const DecayLayers& layers, const BaseChange& change);

/// [T, K] float64: the base of each kind in each column; NaN of layers that do not rotate.
at::Tensor kind_bases(const DecayLayers& layers, const std::vector<BaseChange>& changes);

/// A sentence on the layers that samples of `model` leave out for their heads' size; empty where there are none.
std::string left_out_layers(const ModelFacts& model);

}  // namespace ropescope
