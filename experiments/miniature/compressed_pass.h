// The quick passes (quick_decoder.h) over pictures of which compression.h leaves fewer tokens, before the decoder or between its
// layers: every picture other ones, but all equally many. Tokens are chosen without a gradient; what they become has one.
// Shapes  B pictures, T tokens of the whole sequence, C width, n high-resolution tokens left in the end, q asked tokens
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/decoder.h"

#include "compression.h"
#include "merged_ids.h"
#include "quick_layer.h"

namespace ropescope::miniature {

/// Rows of tokens made of rows of others, and its gradient.
class Reduction {
 public:
  /// from [tokens, C] -> [groups, C]: the mean of each group; `keep_norm`: MLERP. `from` must stay until the backward pass.
  const float* forward(const Members& groups, bool keep_norm, const float* from, int64_t tokens,
                       int64_t width);
  /// dy [groups, C] -> dx [tokens, C].
  void backward(const float* dy, float* dx) const;

 private:
  Members groups_;
  bool keep_norm_ = false;
  const float* from_ = nullptr;
  int64_t tokens_ = 0, width_ = 0;
  Numbers out_;
};

/// Pictures on their way to the decoder.
struct CompressedInput {
  at::Tensor embeddings;  ///< [B, T, C]
  at::Tensor features;    ///< [B, image tokens, tower channels]: what tome- goes by
  uint64_t chance = 0;    ///< what drop- goes by, with a picture's place in the batch
};

class CompressedPass {
 public:
  /// Throws UsageError where the decoder has too few layers, and as MergedIds does. The decoder must live as long.
  CompressedPass(const Decoder& decoder, const Scheme& scheme, PictureSequence sequence,
                 const Compression& compression);

  const PictureSequence& sequence() const { return sequence_; }

  /// After the last norm [B, n + q, C], and the cell of each of the n tokens, -1 for none or several: int64 [B, n].
  struct Seen {
    at::Tensor hidden, cells;
  };
  Seen hidden(const CompressedInput& input);

  /// loss = sum_b [ w_a sum_i -log p(answer_bi) + w_c mean_j -log p(word of the cell of j) ], j over the high-resolution tokens left
  /// that lie in one cell.
  struct Targets {
    at::Tensor words;    ///< of each cell, int64 [B, cells]
    at::Tensor answers;  ///< int64 [B, q]
    double answer_weight = 0, cell_weight = 0;
  };
  struct Loss {
    at::Tensor loss;  ///< differentiable once in embeddings and weights
    double answers = 0;
  };
  Loss loss(const CompressedInput& input, const Targets& targets);

  /// Of loss, without automatic differentiation; parameters as QuickPass lists them.
  struct Gradients {
    double loss = 0, answers = 0;
    at::Tensor embeddings;
    std::vector<at::Tensor> parameters;
  };
  Gradients gradients(const CompressedInput& input, const Targets& targets);

  /// Of the picture last passed: what the tokens of a layer stand for.
  const Members& members(int64_t layer) const { return members_[made_at_[static_cast<size_t>(layer)]]; }

 private:
  void forward(const CompressedInput& input, int64_t picture, float* hidden);
  void backward(const float* dhidden, const std::vector<QuickGradients>& gradients, float* dnorm, float* dx);
  void enter(size_t layer, const Members& groups, const float*& x);
  Members groups_before(int64_t layer, const CompressedInput& input, int64_t picture) const;
  Members by_attention(const QuickLayer& layer, const Members& members, int64_t left) const;
  Members by_keys(const QuickLayer& layer, const Members& members, int64_t left, bool merge) const;
  std::vector<int64_t> places(const Members& members, bool high) const;
  void read_weights();

  const Decoder& decoder_;
  const PictureSequence sequence_;
  const Compression compression_;
  const MergedIds ids_;
  QuickSizes sizes_;
  int64_t high_left_ = 0;
  Members pools_;              // of every picture; empty of what is no pool
  std::vector<bool> reduces_;  // before each layer
  // Of each layer the one whose members and angles it has: its own where it is the first or tokens go before it.
  std::vector<size_t> made_at_;
  std::vector<QuickWeights> weights_;
  std::vector<QuickLayer> layers_;
  std::vector<Reduction> reductions_;
  std::vector<Members> members_;
  std::vector<RotaryTable> tables_;
  std::vector<int64_t> wanted_;
  const float* last_ = nullptr;
  Numbers scale_, above_, below_;
};

}  // namespace ropescope::miniature
