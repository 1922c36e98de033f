// What `ropescope positions` is asked for, from its flags.
#pragma once

#include <optional>
#include <vector>

#include "ropescope/rope/criteria.h"
#include "ropescope/rope/scheme.h"

#include "command.h"

namespace ropescope::app {

struct PositionRequest {
  std::vector<Scheme> schemes;
  std::vector<Layout> layouts;
  RopeConfig rope;
  std::optional<int64_t> head_dim, kv_heads;
  int64_t context = 0;  ///< trained length, tokens; 0 = not said
  bool criteria = false, misalignment = false, mask = false;

  /// Channels of a head: as given, else twice what the scheme's own sections sum to, else 128.
  int64_t head_dim_of(const Scheme& scheme) const;
  /// Slopes that ALiBi gets: as many as its text names, else --kv-heads, else 8.
  int64_t bias_heads_of(const Scheme& scheme) const;
};

std::vector<po::options_description> position_options();
/// Throws UsageError naming the flag.
PositionRequest read_position_request(const Arguments& arguments);

/// --list: every scheme with its parameters, defaults and source, and the frequency allocations.
void list_schemes(bool json);

}  // namespace ropescope::app
