// How much memory a decoder takes, from its settings alone.
#pragma once

#include <cstdint>

#include "ropescope/architectures/decoder_config.h"

namespace ropescope {

/// Numbers (not bytes) that a decoder holds; multiply by the size of the type.
struct DecoderMemory {
  int64_t parameters = 0;  ///< tied embeddings counted once, all experts
  /// Of these: the matrices of experts, which are read when a token asks for them.
  int64_t expert_parameters = 0;
  int64_t layer_parameters = 0;  ///< of the largest layer, without its experts
  /// Keys and values of the layers that keep every token; of the others, kv_cache_bounded is the most.
  int64_t kv_cache_per_token = 0;
  /// Keys and values of layers that see a window or chunk only, when it is full, and recurrent states.
  int64_t kv_cache_bounded = 0;
  int64_t activations_per_token = 0;  ///< alive at once in the widest part of a layer, logits not counted
  int64_t logits_per_token = 0;       ///< always float32
  /// Multiply-adds of a token: with the matrices of layers (of experts those that it chooses), and with each key that it
  /// sees, as if every layer saw all of them.
  int64_t products_per_token = 0, products_per_pair = 0;

  /// Of a cache with `tokens` tokens, at most.
  int64_t kv_cache(int64_t tokens) const { return tokens * kv_cache_per_token + kv_cache_bounded; }
};

/// `config` has passed check_decoder_config. Throws InputError if a count does not fit in 63 bits.
DecoderMemory estimate_decoder_memory(const DecoderConfig& config, const std::string& what);

}  // namespace ropescope
