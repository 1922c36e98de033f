// One scheme's expected logits and the numbers made of them, head by head (definitions: prior.h).
#pragma once

#include <string>
#include <vector>

#include "ropescope/analysis/prior.h"
#include "ropescope/analysis/prior_coefficients.h"

namespace ropescope {

/// A number of every head, and its gradient for intervals. n heads, C coefficients a head.
struct HeadNumbers {
  std::string name;
  at::Tensor by_row;    ///< [n] float64
  at::Tensor gradient;  ///< [n, C]; undefined for numbers that have none (ranks)
};

struct PriorSetting {
  const PriorCoefficients& coefficients;
  int64_t max_position_embeddings = 0;
  const Layout& layout;
  int64_t query = 0;
  const PriorOptions& options;
};

struct SchemeNumbers {
  SchemePrior maps;                 ///< its maps and uniform_share
  std::vector<HeadNumbers> values;  ///< the numbers in the order of prior.h, then the share at each length
};

SchemeNumbers evaluate_scheme(const Scheme& scheme, const PriorSetting& setting);

}  // namespace ropescope
