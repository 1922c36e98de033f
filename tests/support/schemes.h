// Schemes and layouts that tests run over.
#pragma once

#include <string>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope::testing {

/// Every registered scheme that is defined on every layout, with the settings that it needs, and combinations. All run on
/// a model with three or more key/value heads.
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
          "circlerope:move_to_origin=true,radius=10,alpha=0.5,age=alternate",
          "ilrope",
          "omnirope:text_spatial_zero=true",
          "mmrope",
          "grape:frequency_allocation=interleaved,log_freq_scale=1.25",
          "dipe",
          "cca",
          "pype:interval=1",
          "alibi",
          "xd-rope",
          "vrope",
          "ppe:k=2",
          "c2rope",
          "c2rope/tail:causality=outwards",
          "mrope/ernie",
          "mrope/pangu",
          "id-align+vrope",
          "id-align+c2rope",
          "dipe+xd-rope",
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

/// Schemes that ask for tiles one by one, each as large as the thumbnail (tiles_for).
inline std::vector<std::string> tile_schemes() {
  return {"rope-dhr",       "rope-dhr:tile_order=column", "rope-dhr+mrope", "dipe+rope-dhr+mrope", "panorope",
          "panorope+mrope", "panorope:overlap=0.25+cca"};
}

inline std::vector<std::string> all_schemes() {
  std::vector<std::string> all = runnable_schemes();
  for (const std::string& text : tile_schemes()) all.push_back(text);
  return all;
}

inline bool needs_tiles(const std::string& scheme) {
  return scheme.find("rope-dhr") != std::string::npos || scheme.find("panorope") != std::string::npos;
}

/// `layout`, or with tiles in place of its first picture where the scheme asks for them.
inline std::string tiles_for(const std::string& scheme, const std::string& layout) {
  if (!needs_tiles(scheme)) return layout;
  const size_t first = layout.find("anyres:"), end = layout.find(',', first);
  return layout.substr(0, first) + "anyres:3x3+6x3:tiles-first:before=1" + layout.substr(end);
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
