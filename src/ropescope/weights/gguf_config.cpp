#include "ropescope/weights/gguf_config.h"

#include <algorithm>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/weights/gguf_names.h"

namespace ropescope {

namespace {

/// Metadata of one architecture: keys are given without its prefix.
class Keys {
 public:
  Keys(const GgufMetadata& metadata, std::string architecture, const std::string& what)
      : metadata_(metadata), prefix_(std::move(architecture) + "."), what_(what) {}

  bool has(const std::string& key) const { return metadata_.count(prefix_ + key) > 0; }
  int64_t integer(const std::string& key) const { return gguf_integer(metadata_, prefix_ + key, what_); }
  int64_t integer_or(const std::string& key, int64_t fallback) const {
    return gguf_integer_or(metadata_, prefix_ + key, fallback, what_);
  }
  double number_or(const std::string& key, double fallback) const {
    return gguf_number_or(metadata_, prefix_ + key, fallback, what_);
  }
  std::string string_or(const std::string& key, const std::string& fallback) const {
    return gguf_string_or(metadata_, prefix_ + key, fallback, what_);
  }
  std::string name(const std::string& key) const { return prefix_ + key; }

 private:
  const GgufMetadata& metadata_;
  std::string prefix_;
  const std::string& what_;
};

void read_head_size(DecoderConfig& decoder, const Keys& keys, const std::string& what) {
  if (keys.has("attention.key_length")) {
    decoder.head_dim = keys.integer("attention.key_length");
  } else if (decoder.num_attention_heads > 0 && decoder.hidden_size % decoder.num_attention_heads == 0) {
    decoder.head_dim = decoder.hidden_size / decoder.num_attention_heads;
  } else {
    throw InputError("{}: expected {} to divide {}, found {} and {}", what, keys.name("attention.head_count"),
                     keys.name("embedding_length"), decoder.num_attention_heads, decoder.hidden_size);
  }
  const int64_t values = keys.integer_or("attention.value_length", decoder.head_dim);
  if (values != decoder.head_dim) {
    throw InputError("{}: expected keys and values of one size, found {} and {}", what, decoder.head_dim,
                     values);
  }
}

void read_rotary_size(DecoderConfig& decoder, const Keys& keys, const std::string& what) {
  const int64_t rotated = keys.integer_or("rope.dimension_count", decoder.head_dim);
  if (rotated < 1 || rotated > decoder.head_dim ||
      (decoder.model_type == "llama" && rotated != decoder.head_dim)) {
    // Llama's rows are put back to half-split over whole heads, which a partial rotation would not survive.
    throw InputError("{}: {}: expected the head size {}, found {}", what, keys.name("rope.dimension_count"),
                     decoder.head_dim, rotated);
  }
  decoder.rope.partial_rotary_factor = static_cast<double>(rotated) / static_cast<double>(decoder.head_dim);
}

double positive(double value, const std::string& key, const std::string& what) {
  if (value > 0) return value;
  throw InputError("{}: {}: expected a number above 0, found {}", what, key, value);
}

/// llama.cpp multiplies cos and sin by attn_factor * (0.1 ln k + 1).
void read_yarn(RopeConfig& rope, const Keys& keys, const std::string& what) {
  for (const char* key : {"rope.scaling.yarn_log_multiplier", "rope.scaling.alpha"}) {
    if (keys.number_or(key, 0) != 0) throw InputError("{}: {} is not supported", what, keys.name(key));
  }
  if (const double ramp = keys.number_or("rope.scaling.yarn_ext_factor", 1); ramp != 1 && ramp != -1) {
    throw InputError("{}: {}: expected 1, found {}", what, keys.name("rope.scaling.yarn_ext_factor"), ramp);
  }
  const double attention =
      keys.number_or("rope.scaling.attn_factor", 1) * keys.number_or("rope.scaling.yarn_attn_factor", 1);
  if (attention != 1) {
    positive(attention, keys.name("rope.scaling.attn_factor"), what);
    rope.attention_factor = attention * (rope.factor > 1 ? 0.1 * std::log(rope.factor) + 1 : 1);
  }
  rope.beta_fast = positive(keys.number_or("rope.scaling.yarn_beta_fast", rope.beta_fast),
                            keys.name("rope.scaling.yarn_beta_fast"), what);
  rope.beta_slow = positive(keys.number_or("rope.scaling.yarn_beta_slow", rope.beta_slow),
                            keys.name("rope.scaling.yarn_beta_slow"), what);
}

void read_scaling(RopeConfig& rope, const Keys& keys, const std::string& what) {
  const double old_linear = keys.number_or("rope.scale_linear", 1);
  const double factor = keys.number_or("rope.scaling.factor", old_linear);
  const std::string type =
      keys.string_or("rope.scaling.type", factor != 1 && factor != 0 ? "linear" : "none");
  if (type == "none" || factor == 0) return;
  if (type != "linear" && type != "yarn") {
    throw InputError("{}: {}: expected none, linear or yarn, found {}", what, keys.name("rope.scaling.type"),
                     type);
  }
  rope.type = type == "linear" ? RopeType::kLinear : RopeType::kYarn;
  rope.factor = positive(factor, keys.name("rope.scaling.factor"), what);
  if (keys.has("rope.scaling.original_context_length")) {
    const int64_t length = keys.integer("rope.scaling.original_context_length");
    if (length > 0) rope.original_max_position_embeddings = length;
  }
  if (rope.type == RopeType::kYarn) read_yarn(rope, keys, what);
}

/// The file's frequency factors, if it has them.
void read_factors(DecoderConfig& decoder, const GgufContents& contents, std::span<const std::byte> bytes,
                  const std::string& what) {
  for (const char* name : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
    if (contents.find(name) != nullptr) {
      throw InputError("{}: tensor \"{}\": longrope is not supported", what, name);
    }
  }
  const GgufTensor* tensor = contents.find("rope_freqs.weight");
  if (tensor == nullptr) return;
  const GgmlTypeTraits& traits = *ggml_type_traits(tensor->type);
  const std::vector<int64_t> expected = {decoder.head_dim / 2};
  if (tensor->shape != expected || tensor->type != GgmlType::kF32) {
    throw InputError("{}: tensor \"{}\": expected {} numbers in F32", what, tensor->name, expected[0]);
  }
  if (decoder.rope.type != RopeType::kDefault) {
    throw InputError("{}: frequency factors together with {} scaling are not supported", what,
                     rope_type_name(decoder.rope.type));
  }
  std::vector<float> factors(static_cast<size_t>(expected[0]));
  traits.decode(bytes.data() + tensor->offset, factors.data(), expected[0]);
  decoder.rope = rope_config_from_factors(factors, decoder.rope, what);
}

int64_t vocabulary_size(const GgufContents& contents, const Keys& keys, const std::string& what) {
  // The embedding decides: a tokenizer may know fewer tokens than the padded table has rows.
  const GgufTensor* embedding = contents.find("token_embd.weight");
  if (embedding != nullptr && embedding->shape.size() == 2) return embedding->shape[0];
  if (keys.has("vocab_size")) return keys.integer("vocab_size");
  return static_cast<int64_t>(gguf_strings(contents.metadata, "tokenizer.ggml.tokens", what).size());
}

void read_special_tokens(DecoderConfig& decoder, const GgufMetadata& metadata, const std::string& what) {
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const int64_t id = gguf_integer_or(metadata, key, -1, what);
    auto& ids = decoder.eos_token_ids;
    if (id >= 0 && id < decoder.vocab_size && std::find(ids.begin(), ids.end(), id) == ids.end()) {
      ids.push_back(id);
    }
  }
  const int64_t bos = gguf_integer_or(metadata, "tokenizer.ggml.bos_token_id", -1, what);
  if (bos >= 0 && bos < decoder.vocab_size) decoder.bos_token_id = bos;
}

}  // namespace

DecoderConfig gguf_decoder_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                  const std::string& what) {
  const std::string architecture = gguf_string(contents.metadata, "general.architecture", what);
  if (!gguf_architecture_is_known(architecture)) {
    throw InputError("{}: general.architecture: expected llama or qwen2, found {}", what, architecture);
  }
  const Keys keys(contents.metadata, architecture, what);
  DecoderConfig decoder;
  decoder.model_type = architecture;
  decoder.hidden_size = keys.integer("embedding_length");
  decoder.intermediate_size = keys.integer("feed_forward_length");
  decoder.num_hidden_layers = keys.integer("block_count");
  decoder.num_attention_heads = keys.integer("attention.head_count");
  decoder.num_key_value_heads = keys.integer_or("attention.head_count_kv", decoder.num_attention_heads);
  decoder.max_position_embeddings = keys.integer("context_length");
  decoder.rms_norm_eps = keys.number_or("attention.layer_norm_rms_epsilon", decoder.rms_norm_eps);
  decoder.vocab_size = vocabulary_size(contents, keys, what);
  read_head_size(decoder, keys, what);
  check_decoder_config(decoder, what);
  if (keys.integer_or("expert_count", 0) > 0)
    throw InputError("{}: mixtures of experts are not supported", what);
  const int64_t window = keys.integer_or("attention.sliding_window", 0);
  if (window > 0 && window < decoder.max_position_embeddings) {
    throw InputError("{}: attention within a sliding window of {} tokens is not supported", what, window);
  }

  decoder.tie_word_embeddings = contents.find("output.weight") == nullptr;
  decoder.attention_bias = architecture == "qwen2" || contents.find("blk.0.attn_q.bias") != nullptr;
  decoder.attention_out_bias = contents.find("blk.0.attn_output.bias") != nullptr;
  decoder.mlp_bias = contents.find("blk.0.ffn_gate.bias") != nullptr;

  decoder.rope.theta =
      positive(keys.number_or("rope.freq_base", decoder.rope.theta), keys.name("rope.freq_base"), what);
  read_rotary_size(decoder, keys, what);
  read_scaling(decoder.rope, keys, what);
  read_factors(decoder, contents, bytes, what);
  read_special_tokens(decoder, contents.metadata, what);
  return decoder;
}

}  // namespace ropescope
