// A decoder's config.json, written.
#include <string>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/shortest_decimal.h"

namespace ropescope {

std::string activation_name(GateActivation activation) {
  return activation == GateActivation::kSilu ? "silu" : "gelu_pytorch_tanh";
}

Json decoder_sizes_json(const DecoderConfig& config) {
  const ConfigDefaults& keys = architecture_of(config).defaults;
  return {{"model_type", config.model_type},
          {"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"num_hidden_layers", config.num_hidden_layers},
          {"num_attention_heads", config.num_attention_heads},
          {"num_key_value_heads", config.num_key_value_heads},
          {"head_dim", config.head_dim},
          {keys.norm_eps_key, config.rms_norm_eps},
          {"max_position_embeddings", config.max_position_embeddings},
          {"tie_word_embeddings", config.tie_word_embeddings},
          {keys.activation_key, activation_name(config.activation)}};
}

Json to_json(const DecoderConfig& config) {
  const Architecture& family = architecture_of(config);
  Json json = decoder_sizes_json(config);
  json["architectures"] = Json::array({family.classes.front()});
  json[family.defaults.norm_eps_key] = shortest_decimal(config.rms_norm_eps);
  // A null says that there is none where the class would assume one.
  if (config.bos_token_id) {
    json["bos_token_id"] = *config.bos_token_id;
  } else if (family.defaults.bos_token_id) {
    json["bos_token_id"] = Json();
  }
  if (!config.eos_token_ids.empty()) {
    json["eos_token_id"] = config.eos_token_ids;
  } else if (!family.defaults.eos_token_ids.empty()) {
    json["eos_token_id"] = Json();
  }
  family.write(config, json);
  return json;
}

}  // namespace ropescope
