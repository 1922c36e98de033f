#include "inputs/rope_flags.h"

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

namespace ropescope::app {

void RopeFlags::bind(Flags& flags) {
  flags.add("rope-theta", theta, "base in place of the checkpoint's (1e4 where there is none)").above(0);
  flags.add("rope-scaling", scaling,
            "JSON in place of the checkpoint's, for example {\"rope_type\":\"yarn\",\"factor\":4}");
}

RopeConfig RopeFlags::over(RopeConfig base) const {
  if (scaling) {
    RopeConfig fresh;
    fresh.theta = base.theta;
    fresh.original_max_position_embeddings = base.original_max_position_embeddings;
    fresh.partial_rotary_factor = base.partial_rotary_factor;
    try {
      base = parse_rope_scaling(parse_json(*scaling, "--rope-scaling"), fresh, "--rope-scaling");
    } catch (const InputError& error) {
      throw UsageError("{}", error.what());  // a flag, not a file
    }
  }
  if (theta) base.theta = *theta;
  return base;
}

void override_ropes(DecoderConfig& config, const RopeFlags& flags) {
  for (RopeConfig& rope : config.ropes) rope = flags.over(rope);
}

}  // namespace ropescope::app
