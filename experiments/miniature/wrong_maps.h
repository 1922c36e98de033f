// ID-Align made wrong on purpose: a high-resolution token inherits the ids of another thumbnail cell than its own. How much of its
// gain is left says how exact the alignment has to be.
//   shift:K    the cell K columns to the right, round the row
//   mirror     the cell at the other end of the row            quarter   the cell after a quarter turn
//   rows       cells exchanged inside each row by chance        shuffle   all cells exchanged by chance
//   random:P   each token by itself, with probability P, another cell by chance
// Chance depends on the run's seed and the picture's shape: one map for all pictures of a shape.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "pictures.h"
#include "views.h"

namespace ropescope::miniature {

class WrongMap {
 public:
  /// "": the right one. Throws UsageError for what it cannot read.
  explicit WrongMap(const std::string& text);

  bool is_right() const { return text_.empty(); }
  const std::string& text() const { return text_; }

  /// Of each high-resolution token, whose own cell is `cells[i]`: the cell that it inherits from.
  std::vector<int64_t> inherited(const std::vector<int64_t>& cells, const Shape& shape, uint64_t seed) const;

  /// `coordinates` [axes, tokens] of an aligned scheme, the picture's first token at `first`: the same with the inherited ids
  /// exchanged. Throws UsageError where a high-resolution token has not the ids of a thumbnail token.
  at::Tensor apply(const at::Tensor& coordinates, const View& view, int64_t first, const Shape& shape,
                   uint64_t seed) const;

 private:
  std::string text_, kind_;
  double amount_ = 0;
};

}  // namespace ropescope::miniature
