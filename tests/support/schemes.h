// Schemes and layouts that tests run over.
#pragma once

#include <string>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope::testing {

/// Every registered scheme, with the settings that it needs, and combinations. All run on a model with three
/// or more key/value heads.
inline std::vector<std::string> runnable_schemes() {
  return {"vanilla",
          "id-align",
          "v2pe",
          "v2pe:delta=0.25",
          "mrope",
          "mrope-interleave",
          "mrope-interleave:spatial_reset=true",
          "mrope/interleaved",
          "mhrope:sections=1/1/1",
          "videorope",
          "hope",
          "circlerope:move_to_origin=true,radius=10,alpha=0.5",
          "ilrope",
          "omnirope:text_spatial_zero=true",
          "mmrope",
          "grape:frequency_allocation=interleaved,log_freq_scale=1.25",
          "dipe",
          "cca",
          "pype:interval=1",
          "alibi",
          "id-align+v2pe:delta=0.5",
          "id-align+mrope",
          "id-align+mrope-interleave",
          "id-align+cca",
          "id-align+alibi",
          "dipe+mrope-interleave",
          "dipe+id-align+mrope",
          "spiral",
          "spiral:directions=3,text=projected",
          "mixed:seed=3"};
}

/// A golden parameter as a scheme's text has it: lists joined by '/'.
inline std::string setting_text(const Json& value) {
  std::string text;
  for (const Json& item : value.is_array() ? value : Json::array({value})) {
    text += (text.empty() ? "" : "/") + (item.is_string() ? item.get<std::string>() : item.dump());
  }
  return text;
}

/// A scheme's text as a name that GoogleTest takes.
inline std::string test_name(const std::string& text) {
  std::string name;
  for (const char c : text) name += (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '_';
  return name;
}

}  // namespace ropescope::testing
