// Where the tokens of a layout sit under a scheme.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ropescope {

struct Positions {
  at::Tensor coordinates;  ///< [rows, tokens] float64; the rows that Scheme::row_names names
  at::Tensor modality;     ///< [tokens] uint8, values of Modality
  at::Tensor raster;   ///< [tokens] int32: which frame or grid a visual token belongs to, from 0; text -1.
                       ///< A high-resolution grid is one; in a block with pieces each tile is one
  at::Tensor anchors;  ///< DIPE: [rows, tokens] float64, ids of queries against the other modality
  double next = 0;     ///< position of the first generated token; token j sits at next + j
  double next_anchor = 0;  ///< DIPE: the anchored id of all generated tokens

  int64_t tokens() const { return coordinates.size(1); }
  /// Greatest coordinate of any token (not of generated ones); -1 for none.
  double largest() const;
};

}  // namespace ropescope
