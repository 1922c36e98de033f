// What `decay` and `locality` share: the rotary bases that are asked for, and what is said of them and of kinds of layers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/analysis/decay.h"
#include "ropescope/analysis/decay_layers.h"
#include "ropescope/core/json.h"

#include "flags.h"

namespace ropescope::app {

/// --theta, --theta-grid, --theta-scale.
struct BaseFlags {
  std::vector<double> theta, theta_scale;  // empty: not given
  std::optional<std::string> theta_grid;

  void bind(Flags& flags);
  /// At most one of the three; none: the layers' own bases, which must be known. Throws UsageError.
  BaseColumns columns(const ModelFacts& model) const;
};

/// Column t, whose bases are `theta` [T], or `scale` [T] times each layer's own where that is defined: "theta 1e+06",
/// "theta x 4", "own theta" where layers have several.
std::string base_text(const at::Tensor& theta, const at::Tensor& scale, int64_t t);

/// A line a kind. `theta` [T, K], shown where there is one column.
void print_kinds(const std::vector<DecayKind>& kinds, const at::Tensor& theta);
Json kinds_json(const std::vector<DecayKind>& kinds, const at::Tensor& theta);

/// The numbers of a contiguous float64 tensor.
std::vector<double> list_of(const at::Tensor& values);

}  // namespace ropescope::app
