// What config.json (or GGUF metadata) says about a Llama or Qwen2 decoder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/rope/frequencies.h"

namespace ropescope {

/// A sound config of a model that is not (or not wholly) a Llama or Qwen2 decoder: another architecture, a
/// sliding window, another runtime's quantisation, ...
class UnsupportedModel : public InputError {
 public:
  using InputError::InputError;
};

struct DecoderConfig {
  std::string model_type;  ///< "llama" or "qwen2"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;  ///< given, or hidden_size / num_attention_heads
  double rms_norm_eps = 1e-6;
  int64_t max_position_embeddings = 0;
  bool tie_word_embeddings = false;
  bool attention_bias = false;      ///< q, k, v biases (always for qwen2)
  bool attention_out_bias = false;  ///< o bias (Llama with attention_bias)
  bool mlp_bias = false;
  std::string hidden_act = "silu";
  RopeConfig rope;
  std::vector<int64_t> eos_token_ids;
  std::optional<int64_t> bos_token_id;
};

/// From a parsed config.json. Reads `rope_theta` + `rope_scaling` (transformers 4, with `type` or
/// `rope_type`) and `rope_parameters` (transformers 5); as there, dynamic NTK goes by max_position_embeddings and
/// an original_max_position_embeddings beside it is ignored with a warning. `what` names the file in errors. Throws
/// UnsupportedModel for architectures other than Llama and Qwen2 (Mistral-like configs without sliding window
/// count as Llama), InputError for impossible sizes.
DecoderConfig parse_decoder_config(const Json& config, const std::string& what);

/// From `rope_scaling`-like JSON ({"rope_type":"yarn","factor":4,...}), on top of `base`. Keys that the type
/// does not use are ignored, as transformers does, with one warning.
RopeConfig parse_rope_scaling(const Json& scaling, RopeConfig base, const std::string& what);

/// What parse_rope_scaling reads: rope_type, rope_theta, partial_rotary_factor and every setting that the type
/// uses and that is given, under transformers' names. Reading it back gives the same frequencies.
Json to_json(const RopeConfig& rope);

/// Architecture and sizes under transformers' names, what every decoder's config.json has; rotation, biases
/// and tokens are not among them.
Json decoder_sizes_json(const DecoderConfig& config);

/// Throws InputError naming the first setting that no decoder can have: sizes out of range, heads that do not
/// divide, a norm's epsilon that is not a small positive number.
void check_decoder_config(const DecoderConfig& config, const std::string& what);

/// Adds the end tokens of the folder's generation_config.json, if there is one.
void add_generation_end_tokens(const std::filesystem::path& folder, DecoderConfig& decoder);

/// A folder with config.json (generation_config.json adds end tokens), or a .gguf file. Of a LLaVA folder:
/// its language model.
DecoderConfig read_decoder_config(const std::filesystem::path& model);

}  // namespace ropescope
