// PTD of Circle-RoPE (arXiv 2505.16416): how unequally far the tokens of a picture are from the text. The paper's formula
// was read second-hand; the definition here is
//   PTD = mean over pairs (t, v) of | D(t, v) - mean over v' of t's block D(t, v') |
// over text tokens t and visual tokens v of a block, D the Euclidean distance in the coordinates (one row of a scheme
// with one). 0 where every token of a picture is equally far from each text token. Where queries are anchored (DIPE), the
// later token of a pair asks and has its anchor.
#pragma once

#include <optional>

#include "ropescope/rope/scheme.h"

namespace ropescope {

struct PerTokenDistance {
  std::optional<double> all;        ///< ids; none without both kinds of token
  std::optional<double> following;  ///< the same of text that follows the block
};

/// Exact; time grows with text tokens times visual tokens times rows. None beyond 2^32 pairs, with a warning.
PerTokenDistance per_token_distance(const Layout& layout, const Positions& positions);

}  // namespace ropescope
