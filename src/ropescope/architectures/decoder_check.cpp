// Settings that no decoder can have.
#include "ropescope/architectures/decoder_check.h"

#include <cmath>

#include "ropescope/architectures/architecture.h"
#include "ropescope/weights/size_count.h"

namespace ropescope {

namespace {

/// Products of heads and their sizes stay below kLargestSize too.
void check_product(int64_t heads, int64_t size, const std::string& what) {
  if (heads > kLargestSize / size) {
    throw InputError("{}: {} heads of size {} are too many numbers a token", what, heads, size);
  }
}

void check_heads(int64_t heads, int64_t kv_heads, int64_t head_dim, const std::string& what) {
  check_size(heads, "num_attention_heads", kLargestSize, what);
  check_size(kv_heads, "num_key_value_heads", kLargestSize, what);
  check_size(head_dim, "head_dim", kLargestSize, what);
  if (heads % kv_heads != 0) {
    throw InputError("{}: expected num_key_value_heads to divide num_attention_heads, found {} and {}", what,
                     heads, kv_heads);
  }
  check_product(heads, head_dim, what);
}

void check_experts(const ExpertShape& experts, const std::string& what) {
  constexpr int64_t kMostExperts = 100'000;
  check_size(experts.count, "the number of experts", kMostExperts, what);
  check_size(experts.chosen, "the number of experts a token", experts.count, what);
  check_size(experts.inner, "the width of an expert", kLargestSize / 2, what);
  check_size(experts.groups, "the number of expert groups", experts.count, what);
  check_size(experts.chosen_groups, "the number of expert groups a token", experts.groups, what);
  if (experts.shared_inner != 0) {
    check_size(experts.shared_inner, "the width of the shared expert", kLargestSize, what);
  }
  if (experts.count % experts.groups != 0) {
    throw InputError("{}: expected {} expert groups to divide {} experts", what, experts.groups,
                     experts.count);
  }
  const int64_t within = experts.count / experts.groups * experts.chosen_groups;
  if (experts.chosen > within) {
    throw InputError("{}: expected at most {} experts a token, as many as the chosen groups have, found {}",
                     what, within, experts.chosen);
  }
}

void check_delta(const DeltaShape& delta, const std::string& what) {
  check_size(delta.key_heads, "linear_num_key_heads", kLargestSize, what);
  check_size(delta.value_heads, "linear_num_value_heads", kLargestSize, what);
  check_size(delta.key_dim, "linear_key_head_dim", kLargestSize, what);
  check_size(delta.value_dim, "linear_value_head_dim", kLargestSize, what);
  check_size(delta.kernel, "linear_conv_kernel_dim", 1024, what);
  check_product(delta.key_heads, delta.key_dim, what);
  check_product(delta.value_heads, delta.value_dim, what);
  if (delta.value_heads % delta.key_heads != 0) {
    throw InputError("{}: expected linear_num_key_heads to divide linear_num_value_heads, found {} and {}",
                     what, delta.key_heads, delta.value_heads);
  }
}

void check_shared_keys(const DecoderConfig& config, int64_t index, const std::string& what) {
  const LayerShape& layer = config.layer(index);
  const bool earlier = layer.keys_of < index && config.layer(layer.keys_of).keys_of < 0;
  if (!earlier)
    throw InputError("{}: layer {} shares keys with layer {}, which has none", what, index, layer.keys_of);
  const LayerShape& source = config.layer(layer.keys_of);
  if (source.head_dim != layer.head_dim || source.kv_heads != layer.kv_heads) {
    throw InputError("{}: layer {} shares keys with layer {}, whose heads are others", what, index,
                     layer.keys_of);
  }
}

void check_layer(const DecoderConfig& config, int64_t index, const std::string& whole) {
  const LayerShape& layer = config.layer(index);
  const std::string what = fmt::format("{}: layer {}", whole, index);
  if (layer.inner != 0) check_size(layer.inner, "intermediate_size", 2 * kLargestSize, what);
  if (layer.inner == 0 && !layer.experts) {
    throw InputError("{}: expected a feed-forward or experts, found neither", what);
  }
  if (layer.experts) check_experts(*layer.experts, what);
  if (layer.mixer == Mixer::kDeltaRule) {
    if (!layer.delta) throw InternalError("{}: a recurrent layer without sizes", what);
    return check_delta(*layer.delta, what);
  }
  check_heads(layer.heads, layer.kv_heads, layer.head_dim, what);
  check_size(layer.value_dim, "v_head_dim", kLargestSize, what);
  check_product(layer.heads, layer.value_dim, what);
  if (!(layer.score_scale > 0) || !std::isfinite(layer.score_scale)) {
    throw InputError("{}: the scale of scores: expected a finite number above 0, found {}", what,
                     layer.score_scale);
  }
  if (layer.window < 0 || layer.chunk < 0 || layer.window > kMostPositions || layer.chunk > kMostPositions) {
    throw InputError("{}: expected a window of at least one token, found {}", what,
                     layer.window != 0 ? layer.window : layer.chunk);
  }
  if (layer.rotates() && (layer.rope < 0 || static_cast<size_t>(layer.rope) >= config.ropes.size())) {
    throw InternalError("{}: no rotary settings {}", what, layer.rope);
  }
  if (layer.keys_of >= 0) check_shared_keys(config, index, whole);
}

}  // namespace

void check_decoder_sizes(const DecoderConfig& config, const std::string& what) {
  constexpr int64_t kMostLayers = 100'000;
  check_size(config.vocab_size, "vocab_size", kLargestSize, what);
  check_size(config.hidden_size, "hidden_size", kLargestSize, what);
  check_size(config.intermediate_size, "intermediate_size", kLargestSize, what);
  check_size(config.num_hidden_layers, "num_hidden_layers", kMostLayers, what);
  check_heads(config.num_attention_heads, config.num_key_value_heads, config.head_dim, what);
  check_size(config.max_position_embeddings, "max_position_embeddings", kMostPositions, what);
  if (!(config.rms_norm_eps > 0 && config.rms_norm_eps < 1)) {
    throw InputError("{}: {}: expected a number between 0 and 1, found {}", what,
                     architecture_of(config).defaults.norm_eps_key, config.rms_norm_eps);
  }
}

void check_decoder_config(const DecoderConfig& config, const std::string& what) {
  check_decoder_sizes(config, what);
  if (config.layers.size() != static_cast<size_t>(config.num_hidden_layers)) {
    throw InternalError("{}: {} layers are described, not {}", what, config.layers.size(),
                        config.num_hidden_layers);
  }
  if (config.layer_input_dim != 0) {
    check_size(config.layer_input_dim, "hidden_size_per_layer_input", kLargestSize, what);
    check_product(config.num_hidden_layers, config.layer_input_dim, what);
  }
  for (int64_t index = 0; index < config.num_hidden_layers; ++index) check_layer(config, index, what);
}

}  // namespace ropescope
