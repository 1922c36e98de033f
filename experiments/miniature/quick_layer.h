// One layer of the quick passes (quick_decoder.h) and its gradients, for one picture.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "ropescope/models/decoder_weights.h"
#include "ropescope/rope/rotation.h"

namespace ropescope::miniature {

struct QuickSizes {
  int64_t width = 0, heads = 0, head_dim = 0, inner = 0;
  float eps = 0;
};

using Numbers = std::vector<float>;

/// Weights of a layer in the forms that products take.
struct QuickWeights {
  void read(const DecoderLayerWeights& weights, const QuickSizes& sizes);

  const float *input_norm = nullptr, *mlp_norm = nullptr, *o = nullptr, *down = nullptr;
  Numbers qkv, gate_up;                   ///< [3C, C], [2I, C]: side by side
  Numbers qkv_t, o_t, gate_up_t, down_t;  ///< transposed
};

/// Gradients, added up over pictures, where they go: as the weights, q, k, v and gate, up side by side.
struct QuickGradients {
  float *input_norm, *qkv, *o, *mlp_norm, *gate_up, *down;
};

/// Angles of a picture's tokens; each head has its own or all share one.
struct QuickAngles {
  const float *cos = nullptr, *sin = nullptr;  ///< [heads or 1, tokens, half]
  int64_t half = 0, heads = 1;
  explicit QuickAngles(const RotaryTable& table);
};

/// What a forward pass leaves for the backward pass. Outputs are computed for some tokens only, `rows`.
class QuickLayer {
 public:
  QuickLayer(const QuickSizes& sizes, int64_t tokens, std::vector<int64_t> rows);

  /// Other tokens, as many, for the next forward pass; ascending.
  void choose(std::vector<int64_t> rows) { rows_ = std::move(rows); }
  /// x [tokens, C] -> [rows, C]; x must stay until the backward pass.
  const float* forward(const QuickWeights& weights, const QuickAngles& angles, const float* x);
  /// dy [rows, C] is used up; dx [tokens, C].
  void backward(const QuickWeights& weights, const QuickAngles& angles, const QuickGradients& gradients,
                float* dy, float* dx);

  /// Of the last forward pass: the weights [tokens] that row `row` of `rows` gives to tokens up to its own.
  const float* attention(int64_t head, int64_t row) const {
    return maps_.data() + (head * count_ + row) * padded_;
  }
  /// All heads' keys of a token, rotated, [C].
  const float* keys(int64_t token) const { return qkv_.data() + (3 * token + 1) * sizes_.width; }

 private:
  bool all() const { return static_cast<int64_t>(rows_.size()) == tokens_; }
  void attend();
  void attend_backward(const float* dmixed);
  void turn(const QuickAngles& angles, Numbers& qkv, Numbers& queries, bool back) const;

  QuickSizes sizes_;
  int64_t tokens_, padded_, count_;  // count_: of rows; padded_: tokens, a multiple of 16
  std::vector<int64_t> rows_;
  const float* x_ = nullptr;
  Numbers normed_, scale_, chosen_, qkv_, queries_;  // [T, C], [T], [n, C], [T, 3C], [n, C]
  Numbers maps_, across_, mixed_, middle_, normed2_, scale2_, both_, gated_, out_;
  Numbers dqkv_, dqueries_, slopes_, dmixed_, dgated_, dboth_, dnormed_, dchosen_;
};

}  // namespace ropescope::miniature
