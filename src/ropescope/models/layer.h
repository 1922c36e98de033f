// One layer of a decoder, as its LayerShape says.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/decoder.h"
#include "ropescope/models/pass_attention.h"

namespace ropescope {

/// What the layers of one pass share.
struct DecoderPass {
  const DecoderConfig& config;
  const ForwardOptions& options;
  const Taps& taps;
  KvCache* cache;
  PassEncoding encoding;  ///< on the device of the weights
  PassAttention attention;
  int64_t past;
  /// Gemma 4: [B, T, layers, n], what each layer gets of its own; else undefined.
  at::Tensor layer_inputs;
  std::vector<int64_t> segment_lengths;  ///< as in ForwardInput
  /// Rotated keys and values of layers that later ones read.
  mutable std::map<int64_t, std::pair<at::Tensor, at::Tensor>> shared_keys;
  at::Tensor last_groups;  ///< int64 [B]: of the last token's pictures, for the cache

  bool shows(int64_t layer) const { return !taps.wants_layer || taps.wants_layer(layer); }
};

/// x / rms(x) * w and its kin, as the decoder normalises (DecoderConfig::norm).
at::Tensor decoder_norm(const DecoderConfig& config, const at::Tensor& x, const at::Tensor& weight);

/// The layer's output [B, T, C]; undefined when the pass stops inside it.
at::Tensor run_layer(const DecoderPass& pass, const DecoderLayerWeights& weights, int64_t layer,
                     const at::Tensor& hidden);

}  // namespace ropescope
