// A config.json's text through the reader, or what it is refused with.
#pragma once

#include <string>

#include "ropescope/architectures/decoder_config.h"

#include "tests/support/refusal.h"

namespace ropescope::testing {

inline DecoderConfig parse(const Json& config) { return parse_decoder_config(config, "config.json"); }

inline std::string error_of(const Json& config) {
  return refusal_of([&] { parse(config); });
}

}  // namespace ropescope::testing
