// The rotary settings of a whole config.json, in either spelling.
#pragma once

#include <cstdint>
#include <string>

#include "ropescope/core/json.h"
#include "ropescope/rope/frequencies.h"

namespace ropescope {

/// What a class assumes where a config says nothing.
struct RopeDefaults {
  double theta = 10000;
  double partial_rotary_factor = 1;
};

/// The one set of settings that all layers share: `rope_theta`, `rope_scaling`, `partial_rotary_factor`, or
/// `rope_parameters`. Throws InputError, UnsupportedModel (one set a kind of layers).
RopeConfig read_rope(const Json& config, const RopeDefaults& defaults, int64_t max_position_embeddings,
                     const std::string& what);

/// The object of `rope_parameters` that is for one kind of layers ("sliding_attention"), an empty one where there is
/// none. Throws InputError for settings that are not told apart by kind.
Json rope_parameters_of(const Json& config, const char* kind, const std::string& what);

/// From such an object. As transformers 5.24, which does not look for `truncate` there.
RopeConfig read_rope_of_kind(Json settings, const RopeDefaults& defaults, int64_t max_position_embeddings,
                             const std::string& what);

}  // namespace ropescope
