#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/architectures/shortest_decimal.h"

namespace ropescope::families {

namespace cohere2_family {
namespace {

void parse(const Json& config, DecoderConfig& decoder, const std::string& what) {
  read_attention_bias(config, decoder, false, what);
  expect_key(config, "use_qk_norm", false, what);
  decoder.norm = NormKind::kLayer;
  decoder.parallel = true;
  decoder.pairing = PairLayout::kAdjacent;
  decoder.logit_scale = positive_or(config, "logit_scale", 0.0625, what);
  decoder.ropes = {shared_rope(config, decoder, kCohere2.defaults, what)};
  const KindOf pattern = full_every(period_or(config, "sliding_window_pattern", 4, what));
  fill_layers(decoder, layer_kinds(config, decoder, {kFull, kSliding}, pattern, what),
              window_or(config, 4096, what), what);
  for (LayerShape& layer : decoder.layers) layer.rope = layer.kind == kSliding ? 0 : kNoRope;
}

void write(const DecoderConfig& decoder, Json& config) {
  write_rope(decoder, config);
  config["attention_bias"] = decoder.attention_bias;
  config["logit_scale"] = decoder.logit_scale;
  config["layer_types"] = kinds_json(decoder);
  config["sliding_window"] = window_json(decoder);
}

std::vector<TensorRule> tensors(const DecoderConfig& decoder, int64_t layer) {
  if (layer < 0) return outside_rules(decoder);
  RuleList rules(decoder, layer);
  rules.norm(TensorKind::kAttentionNorm, "input_layernorm");  // the feed-forward reads it too
  rules.attention();
  rules.feed_forward("mlp", rules.shape().inner);
  return rules.take();
}

DecoderConfig parse_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what) {
  const GgufFile file(contents, bytes, what);
  Json config = gguf_common_json(file, kCohere2.name);
  config["rope_parameters"] = to_json(gguf_rope(file, config["head_dim"]));
  config["logit_scale"] = shortest_decimal(file.keys.number_or("logit_scale", 0.0625));
  config["layer_types"] = gguf_kinds(file, 4);
  config["sliding_window"] = file.keys.integer("attention.sliding_window");
  return parse_decoder_config(config, what);
}

}  // namespace
}  // namespace cohere2_family

const Architecture kCohere2 = {
    .name = "cohere2",
    .summary =
        "Rotation of adjacent channels on layers with a window; every fourth layer sees all and does not rotate.",
    .source = "Command R7B and Command A (arXiv 2504.00698)",
    .model_types = {"cohere2"},
    .classes = {"Cohere2ForCausalLM", "Cohere2Model"},
    .trains = true,
    .defaults = {.max_position_embeddings = 8192,
                 .norm_eps = 1e-5,
                 .norm_eps_key = "layer_norm_eps",
                 .tie_word_embeddings = true,
                 .bos_token_id = 5,
                 .eos_token_ids = {255001}},
    .parse = cohere2_family::parse,
    .write = cohere2_family::write,
    .tensors = cohere2_family::tensors,
    .gguf = {{"cohere2", cohere2_family::parse_gguf_config, gguf_plain_role}},
};

}  // namespace ropescope::families
