// Choosing the next token: the likeliest, or a draw from the likeliest few.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "ropescope/core/random.h"

namespace ropescope {

struct SamplingOptions {
  double temperature = 0;  ///< logits are divided by it; 0: always the likeliest token
  /// Of the tokens by falling probability, the shortest list that sums to at least this (Holtzman et al.
  /// 2020, arXiv 1904.09751); 1: all.
  double top_p = 1;
  uint64_t seed = 0;
};

/// The function for GenerateOptions::choose, one after another for a whole generation. The same seed gives
/// the same tokens.
class TokenSampler {
 public:
  /// Throws UsageError for a negative temperature, or a top_p outside (0, 1].
  explicit TokenSampler(const SamplingOptions& options);
  /// Float32 logits [B, V] -> int64 [B] on the CPU.
  at::Tensor operator()(const at::Tensor& logits_BV);

 private:
  SamplingOptions options_;
  Rng rng_;
};

}  // namespace ropescope
