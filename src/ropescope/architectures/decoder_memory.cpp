#include "ropescope/architectures/decoder_memory.h"

#include <algorithm>

#include "ropescope/architectures/architecture.h"
#include "ropescope/weights/size_count.h"

namespace ropescope {

namespace {

/// The three matrices of every expert, and gpt-oss's biases.
int64_t expert_numbers(const LayerShape& layer, int64_t hidden, const SizeCount& count) {
  if (!layer.experts) return 0;
  const ExpertShape& experts = *layer.experts;
  const bool biases = experts.form == ExpertForm::kStackedInOutAlternating;
  return count.sum({count.product({3, experts.count, experts.inner, hidden}),
                    biases ? count.product({experts.count, 2 * experts.inner + hidden}) : 0});
}

/// What a layer's cache holds of a token: keys and values (of every head, where they come from a latent).
int64_t cached_per_token(const LayerShape& layer) {
  if (layer.mixer == Mixer::kDeltaRule || layer.keys_of >= 0) return 0;
  return layer.kv_heads * (layer.head_dim + layer.value_dim);
}

/// A state for each value head, and the last inputs of the convolution.
int64_t recurrent_state(const DeltaShape& delta, const SizeCount& count) {
  const int64_t channels = 2 * delta.key_heads * delta.key_dim + delta.value_heads * delta.value_dim;
  return count.sum({count.product({delta.value_heads, delta.key_dim, delta.value_dim}),
                    count.product({delta.kernel - 1, channels})});
}

void add_cache(const LayerShape& layer, DecoderMemory& memory, const SizeCount& count) {
  const int64_t kept = cached_per_token(layer);
  const int64_t limit = layer.window > 0 ? layer.window : layer.chunk;
  if (layer.delta) {
    memory.kv_cache_bounded = count.sum({memory.kv_cache_bounded, recurrent_state(*layer.delta, count)});
  } else if (limit > 0) {
    memory.kv_cache_bounded = count.sum({memory.kv_cache_bounded, count.product({limit, kept})});
  } else {
    memory.kv_cache_per_token = count.sum({memory.kv_cache_per_token, kept});
  }
}

/// The widest part of a layer: q, k, v, rotated q and k, and the output; or gate, up and product.
int64_t widest_part(const LayerShape& layer) {
  int64_t mixed = 0;
  if (layer.delta) {
    const DeltaShape& delta = *layer.delta;
    mixed = 4 * delta.key_heads * delta.key_dim + 4 * delta.value_heads * delta.value_dim;
  } else {
    mixed = layer.heads * (2 * layer.head_dim + layer.value_dim) +
            layer.kv_heads * (2 * layer.head_dim + layer.value_dim);
    if (layer.output_gate) mixed += layer.heads * layer.head_dim;
  }
  int64_t fed = 3 * layer.inner;
  if (layer.experts) {
    fed += 3 * std::max(layer.experts->shared_inner, layer.experts->chosen * layer.experts->inner);
  }
  return std::max(mixed, fed);
}

}  // namespace

DecoderMemory estimate_decoder_memory(const DecoderConfig& config, const std::string& what) {
  const SizeCount count(what);
  const Architecture& family = architecture_of(config);
  DecoderMemory memory;
  const auto add_rules = [&](int64_t layer) {
    const int64_t before = memory.parameters;
    for (const TensorRule& rule : family.tensors(config, layer)) {
      int64_t numbers = 1;
      for (const int64_t extent : rule.shape) numbers = count.product({numbers, extent});
      memory.parameters = count.sum({memory.parameters, numbers});
      if (layer >= 0 && rule.shape.size() == 2)
        memory.products_per_token = count.sum({memory.products_per_token, numbers});
    }
    if (layer >= 0) memory.layer_parameters = std::max(memory.layer_parameters, memory.parameters - before);
  };
  add_rules(-1);
  int64_t widest = config.hidden_size;
  for (int64_t index = 0; index < config.num_hidden_layers; ++index) {
    const LayerShape& layer = config.layer(index);
    add_rules(index);
    memory.expert_parameters =
        count.sum({memory.expert_parameters, expert_numbers(layer, config.hidden_size, count)});
    if (layer.experts) {
      memory.products_per_token =
          count.sum({memory.products_per_token,
                     count.product({3, layer.experts->chosen, layer.experts->inner, config.hidden_size})});
    }
    if (layer.has_qk())
      memory.products_per_pair = count.sum(
          {memory.products_per_pair, count.product({layer.heads, layer.head_dim + layer.value_dim})});
    add_cache(layer, memory, count);
    widest = std::max(widest, widest_part(layer));
  }
  memory.parameters = count.sum({memory.parameters, memory.expert_parameters});
  // Residual stream and normed input beside it.
  memory.activations_per_token = count.sum({2 * config.hidden_size, widest});
  memory.logits_per_token = config.vocab_size;
  return memory;
}

}  // namespace ropescope
