// LLaVA-NeXT checkpoints and pictures in the form of models/vlm.h.
#pragma once

#include <string>

#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/models/vlm.h"
#include "ropescope/vision/media_plan.h"

namespace ropescope::testing {

inline Vlm load_llava_next(const std::string& path, const LoadOptions& options = {}) {
  const LlavaConfig config = read_llava_config(path);
  return load_vlm(open_checkpoint(path), vlm_config_of(config), config.decoder, path, options);
}

/// `pixel_values` [at least the picture's tiles, 3, S, S]: those beyond its own are left out.
inline MediaItem llava_item(const at::Tensor& pixel_values, const AnyresGeometry& geometry) {
  MediaItem item;
  item.plan = anyres_plan(geometry, geometry.feat_H1W1, pixel_values.size(-1));
  const int64_t tiles = 1 + geometry.tiles_cols_rows[0] * geometry.tiles_cols_rows[1];
  item.pixel_values = pixel_values.narrow(0, 0, tiles);
  return item;
}

}  // namespace ropescope::testing
