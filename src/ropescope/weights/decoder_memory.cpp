#include "ropescope/weights/decoder_memory.h"

#include <algorithm>

#include "ropescope/weights/size_count.h"

namespace ropescope {

DecoderMemory estimate_decoder_memory(const DecoderConfig& config, const std::string& what) {
  const SizeCount count(what);
  const int64_t hidden = config.hidden_size;
  const int64_t mlp = config.intermediate_size;
  const int64_t queries = config.num_attention_heads * config.head_dim;
  const int64_t keys = config.num_key_value_heads * config.head_dim;

  const int64_t attention =
      count.sum({count.product({2, hidden, queries}), count.product({2, hidden, keys}),
                 config.attention_bias ? queries + 2 * keys : 0, config.attention_out_bias ? hidden : 0});
  const int64_t feed_forward =
      count.sum({count.product({3, hidden, mlp}), config.mlp_bias ? 2 * mlp + hidden : 0});
  const int64_t layer = count.sum({attention, feed_forward, 2 * hidden});

  DecoderMemory memory;
  memory.parameters =
      count.sum({count.product({config.vocab_size, hidden, config.tie_word_embeddings ? 1 : 2}),
                 count.product({config.num_hidden_layers, layer}), hidden});
  memory.kv_cache_per_token = count.product({2, config.num_hidden_layers, keys});
  // Residual stream and normed input; then q, k, v, rotated q and k, and the output; or gate, up and product.
  memory.activations_per_token = count.sum({2 * hidden, std::max({3 * queries + 3 * keys, 3 * mlp, hidden})});
  memory.logits_per_token = config.vocab_size;
  return memory;
}

}  // namespace ropescope
