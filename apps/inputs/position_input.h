// What `ropescope positions` is asked for, from its flags.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/rope/criteria.h"
#include "ropescope/rope/fope.h"
#include "ropescope/rope/scheme.h"

#include "flags.h"
#include "inputs/rope_flags.h"

namespace ropescope::app::positions {

struct PositionsFlags {
  std::string scheme;  ///< several, separated by ';'
  bool list = false, criteria = false, misalignment = false, mask = false, markdown = false;
  std::optional<std::string> layout, layout_file, anyres, preset, plot, output, fope_coefficients;
  std::optional<int64_t> context, head_dim, kv_heads;
  RopeFlags rope;

  void bind(Flags& flags);
};

struct PositionRequest {
  std::vector<Scheme> schemes;
  std::vector<Layout> layouts;
  RopeConfig rope;
  std::optional<int64_t> head_dim, kv_heads;
  int64_t context = 0;  ///< trained length, tokens; 0 = not said
  bool criteria = false, misalignment = false, mask = false;
  std::optional<FopeCoefficients> fope;  ///< in place of plain cos and sin

  /// Slopes that ALiBi gets: as many as its text names, else --kv-heads, else 8.
  int64_t bias_heads_of(const Scheme& scheme) const;
};

/// Throws UsageError naming the flag.
PositionRequest read_position_request(const PositionsFlags& flags);

/// --list: every scheme with its parameters, defaults and source, and the frequency allocations.
void list_schemes(bool json);

}  // namespace ropescope::app::positions
