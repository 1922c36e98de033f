// What a decoder keeps of the tokens that it has seen.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/blocks/delta_rule.h"

namespace ropescope {

/// Keys (rotated) and values of the tokens seen so far, per layer [B, K, S, D]; the state of a delta rule in their
/// place. Layers with a window keep no more than the window. The tensors are views of larger buffers, so that a
/// generated token costs no copy of its past; copies share them, so append to one only.
struct KvCache {
  std::vector<at::Tensor> keys, values;  ///< undefined where a layer has none
  std::vector<DeltaState> states;
  at::Tensor
      last_groups;  ///< int64 [B]: the picture of the last token seen, -1 for text; undefined: none had one

  int64_t length() const { return seen_; }
  /// A pass of so many tokens is over.
  void advance(int64_t tokens) { seen_ += tokens; }

  /// Appends k, v [B, K, T, D] to a layer; keys[layer], values[layer] then hold past and new tokens. Without
  /// autograd the buffers grow by doubling; with it everything is concatenated.
  void append(int64_t layer, const at::Tensor& k_BKTD, const at::Tensor& v_BKTD);
  /// Of a layer, only the last `tokens` keys are kept.
  void keep_last(int64_t layer, int64_t tokens);

  DeltaState state(int64_t layer) const;
  void set_state(int64_t layer, DeltaState state);

  /// Only the rows `index` (int64, on any device) of every layer are kept.
  void keep_rows(const at::Tensor& index);

  /// Whether first(n) can be had: nothing was dropped, and no layer keeps a state.
  bool can_shorten() const;
  /// A view of the first `tokens` tokens, which is not appended to in place. Throws InternalError unless can_shorten()
  /// or all of them are asked for.
  KvCache first(int64_t tokens) const;
  /// A view with this one row `rows` times.
  KvCache expanded(int64_t rows) const;

 private:
  int64_t seen_ = 0;
  std::vector<at::Tensor> key_buffers_, value_buffers_;
  std::vector<int64_t> starts_;  // of the views in their buffers
};

}  // namespace ropescope
