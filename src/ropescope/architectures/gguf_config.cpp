#include "ropescope/architectures/gguf_config.h"

#include <algorithm>
#include <cctype>

#include <fmt/ranges.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/decoder_check.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/warn_once.h"

namespace ropescope {

namespace {

void read_head_size(DecoderConfig& decoder, const GgufKeys& keys, const std::string& what) {
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

void read_rotary_size(DecoderConfig& decoder, const GgufKeys& keys, const std::string& what) {
  const int64_t rotated = keys.integer_or("rope.dimension_count", decoder.head_dim);
  if (rotated < 1 || rotated > decoder.head_dim ||
      (decoder.model_type == "llama" && rotated != decoder.head_dim)) {
    // Llama's rows are put back to half-split over whole heads, which a partial rotation would not survive.
    throw InputError("{}: {}: expected the head size {}, found {}", what, keys.name("rope.dimension_count"),
                     decoder.head_dim, rotated);
  }
  decoder.rope().partial_rotary_factor = static_cast<double>(rotated) / static_cast<double>(decoder.head_dim);
}

/// Mistral 7B v0.1 and its kin go by the name of llama, and their window is not in the file.
void warn_of_window(const GgufFile& file) {
  std::string name = gguf_string_or(file.contents.metadata, "general.name", "", file.what);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (name.find("mistral") == std::string::npos || name.find("0.1") == std::string::npos) return;
  warn_once(fmt::format(
      "{}: \"{}\" was trained with a sliding window of 4096 tokens, which GGUF files of Mistral do not "
      "mention; every layer sees all tokens",
      file.what, name));
}

}  // namespace

DecoderConfig gguf_llama_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  const GgufKeys& keys = file.keys;
  const std::string architecture = gguf_string(contents.metadata, "general.architecture", what);
  DecoderConfig decoder;
  decoder.model_type = architecture;
  decoder.hidden_size = keys.integer("embedding_length");
  decoder.intermediate_size = keys.integer("feed_forward_length");
  decoder.num_hidden_layers = keys.integer("block_count");
  decoder.num_attention_heads = keys.integer("attention.head_count");
  decoder.num_key_value_heads = keys.integer_or("attention.head_count_kv", decoder.num_attention_heads);
  decoder.max_position_embeddings = keys.integer("context_length");
  decoder.rms_norm_eps = keys.number_or("attention.layer_norm_rms_epsilon", decoder.rms_norm_eps);
  decoder.vocab_size = gguf_vocabulary_size(file);
  read_head_size(decoder, keys, what);
  check_decoder_sizes(decoder, what);
  if (keys.integer_or("expert_count", 0) > 0)
    throw InputError("{}: mixtures of experts are not supported", what);
  const int64_t window = keys.integer_or("attention.sliding_window", 0);
  if (window > 0 && window < decoder.max_position_embeddings) {
    throw InputError("{}: attention within a sliding window of {} tokens is not supported", what, window);
  }

  decoder.tie_word_embeddings = !file.has_tensor("output.weight");
  decoder.attention_bias = architecture == "qwen2" || file.has_tensor("blk.0.attn_q.bias");
  decoder.attention_out_bias = file.has_tensor("blk.0.attn_output.bias");
  decoder.mlp_bias = file.has_tensor("blk.0.ffn_gate.bias");

  RopeConfig& rope = decoder.rope();
  rope.theta = keys.number_or("rope.freq_base", rope.theta);
  if (rope.theta <= 0) {
    throw InputError("{}: {}: expected a number above 0, found {}", what, keys.name("rope.freq_base"),
                     rope.theta);
  }
  read_rotary_size(decoder, keys, what);
  read_gguf_scaling(rope, keys, {.attn_factor_is_whole = false}, what);
  read_gguf_factors(rope, decoder.head_dim, file);
  read_gguf_tokens(contents.metadata, decoder.vocab_size, decoder.eos_token_ids, decoder.bos_token_id, what);
  if (architecture == "llama") warn_of_window(file);
  fill_equal_layers(decoder);
  return decoder;
}

bool gguf_architecture_is_known(const std::string& architecture) {
  return find_gguf_names(architecture) != nullptr;
}

DecoderConfig gguf_decoder_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                  const std::string& what) {
  const std::string architecture = gguf_string(contents.metadata, "general.architecture", what);
  const GgufNames* names = find_gguf_names(architecture);
  if (names == nullptr) {
    std::vector<std::string> known;
    for (const Architecture* family : architectures()) {
      for (const GgufNames& one : family->gguf) known.push_back(one.architecture);
    }
    throw InputError("{}: general.architecture: expected one of {}, found {}", what, fmt::join(known, ", "),
                     architecture);
  }
  DecoderConfig decoder = names->parse(contents, bytes, what);
  check_decoder_config(decoder, what);
  return decoder;
}

}  // namespace ropescope
