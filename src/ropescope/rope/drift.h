// Phase drift in closed form: how the pattern that positions alone lay over a picture moves as text goes on behind it.
//
// A score depends on positions by the differences d_a = id_a(query) - id_a(cell) on the axes a that rotate. Where the cells
// of a raster have ids id_a(r, c) = b_a + u_a r + v_a c, and the id of a token behind it grows by g_a from one token to the
// next, the query that comes one token later meets cell (r + x, c + y) at the differences at which its predecessor met (r, c)
// if
//   u_a x + v_a y = g_a      on every axis a with u_a or v_a,
// so the pattern moves by x rows and y columns a token. Axes whose id is the same in all cells (time, within a frame) move
// the attention on the picture as a whole and not within it; they do not count.
//   M-RoPE, any allocation    u_h = v_w = g = 1: one row and one column
//   one id a token            u = columns, v = 1: one cell in reading order, which is one column, and a row's end goes on in
//                             the next row. Of several solutions the one along the denser direction is given.
//   h = w = 0 for text, DIPE  g = 0 (DIPE: anchored ids): nothing moves
// Ids that are no affine image of the grid (circles) move in a way that is no shift of the grid.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ropescope/core/json.h"
#include "ropescope/rope/layout.h"
#include "ropescope/rope/scheme.h"

namespace ropescope {

struct DriftPrediction {
  enum class Kind {
    kNone,   ///< ids of later text differ on no axis that tells cells apart
    kShift,  ///< the pattern moves over the grid as a whole
    kOther   ///< it changes, but as no shift of the grid
  };
  Kind kind = Kind::kNone;
  double rows = 0, columns = 0;  ///< cells a token; NaN for kOther
  /// Phase that the fastest channel of an axis that tells cells apart turns by from one token to the next, radians; above pi
  /// it is seen as a turn the other way. Small ones move slowly: the pattern is wide.
  double phase = 0;
};

/// Of the raster whose tokens are `cells` (token indices, row by row, rows x columns, none missing), for text behind all of
/// the layout's tokens. `positions` are the scheme's on the layout (at layer 0), `frequencies` its channels.
DriftPrediction predict_drift(const Scheme& scheme, const Positions& positions,
                              const Frequencies& frequencies, const std::vector<int64_t>& cells, int64_t rows,
                              int64_t columns);

/// "none", "shift", "other".
std::string drift_kind_name(DriftPrediction::Kind kind);
/// {"kind":"shift","rows":1,"columns":1,"phase":0.78}; rows and columns null for "other".
Json to_json(const DriftPrediction& drift);

}  // namespace ropescope
