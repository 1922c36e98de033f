// The flags --rope-theta and --rope-scaling, of every command that may put another rotation in place of a checkpoint's.
#pragma once

#include <optional>
#include <string>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/rope/frequencies.h"

#include "flags.h"

namespace ropescope::app {

struct RopeFlags {
  std::optional<double> theta;
  std::optional<std::string> scaling;

  void bind(Flags& flags);
  /// `base` with what was given: theta replaces the base's, a scaling replaces the base's scaling (trained length and
  /// partial rotation stay unless it names them). Throws UsageError.
  RopeConfig over(RopeConfig base) const;
  bool given() const { return theta || scaling; }
};

/// Of all layers that rotate.
void override_ropes(DecoderConfig& config, const RopeFlags& flags);

}  // namespace ropescope::app
