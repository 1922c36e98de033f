// How the causal matrix of a sequence of text and visual runs is cut into rectangles that each know one
// modality pair: a plan of integers, made once and shared by all layers.
//
// Gather the tokens of each modality, in order. Text among itself is then one causal triangle, and so are the
// visual tokens. What is left are pairs of different modality. Call the modality with more tokens the major
// one; each of its runs makes two full rectangles: all later tokens of the other modality look at the run,
// and the run looks at all earlier tokens of the other modality. So keys and values of the major modality
// (the images, as a rule) are read and differentiated once, and only the few rows of the other are merged
// again and again. Short runs (a text of alternating tokens) share a tile, inside which a bias hides keys.
// Fused calls: 2 + two for each run of the major modality, at most; with T alternating tokens about T/128.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ropescope {

struct Span {
  int64_t first = 0, length = 0;
};

/// Tokens of one modality in their order. Queries are the last tokens of a sequence, so the queries of a
/// modality are the last of its keys.
struct GatheredTokens {
  std::vector<Span> key_runs;    ///< in the sequence, 0 its first token
  std::vector<Span> query_runs;  ///< among the queries, 0 the first of them
  int64_t keys = 0, queries = 0;
};

/// A rectangle: spans count in the gathered queries of one modality and the gathered keys of one.
struct PairBlock {
  size_t query_modality = 0, key_modality = 0;  ///< 0 text, 1 visual
  Span queries, keys;
  bool is_causal = false;
  at::Tensor bias;  ///< undefined: all keys are seen; or [queries, keys], see kernels::hidden_score()
};

struct PairBlocks {
  std::array<GatheredTokens, 2> tokens;
  /// Same-modality blocks come first, and of each query modality the first block holds all its queries.
  std::vector<PairBlock> blocks;

  /// `visual`: one flag a key; the queries are the last `queries` of them, all tokens before are seen by all.
  /// `options`: type and device of biases.
  PairBlocks(const std::vector<uint8_t>& visual, int64_t queries, const at::TensorOptions& options);
};

}  // namespace ropescope
