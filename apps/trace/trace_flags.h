// Flags of `ropescope trace`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flags.h"
#include "inputs/image_input.h"
#include "inputs/rope_flags.h"
#include "trace/trace_scheme.h"

namespace ropescope::app::trace {

struct TraceFlags {
  std::string model;  ///< empty: not given
  std::optional<std::string> text, tokens, tensors, pairing, dump;
  std::vector<int64_t> layers;  ///< empty: all
  std::optional<int64_t> new_tokens;
  std::string output;
  ImageFlags images;
  RopeFlags rope;
  SchemeFlags under;

  void bind(Flags& flags);
};

}  // namespace ropescope::app::trace
