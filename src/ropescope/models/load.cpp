#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/decoder.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/weights/decoder_names.h"
#include "ropescope/weights/renamed_checkpoint.h"

namespace ropescope {

namespace {

// The frequencies follow from the configuration (Llama-3 GGUF files carry their factors as a tensor).
bool is_frequency_buffer(const std::string& name) {
  return name.find("rotary_emb.inv_freq") != std::string::npos || name == "rope_freqs.weight";
}

/// Formats with scales beside the weights (NVFP4 in GGUF, FP8) mean products that are not taken here.
void refuse_scales(const Checkpoint& checkpoint) {
  for (const TensorInfo& info : checkpoint.tensors()) {
    const bool scale =
        info.name.ends_with("scale") || info.name.ends_with("scale_inv") || info.name.ends_with("scale_2");
    if (!scale) continue;
    throw InputError(
        "checkpoint: tensor \"{}\": weights that a tensor of their own scales are not supported. Try: the model in "
        "float32, bfloat16 or float16, or a GGUF file with another quantisation",
        info.name);
  }
}

/// Nothing is compared for who needs no logits.
OutputMatrix output_of(const Checkpoint& checkpoint, const DecoderConfig& config,
                       const LoadOptions& options) {
  const bool both =
      checkpoint.find("lm_head.weight") != nullptr && checkpoint.find("model.embed_tokens.weight") != nullptr;
  if (both && !options.with_lm_head) return OutputMatrix::kEmbedding;
  return output_matrix(checkpoint, config.tie_word_embeddings);
}

std::unique_ptr<Checkpoint> with_head_as_embedding(const Checkpoint& checkpoint) {
  return rename_tensors(checkpoint, [](const std::string& name) -> std::optional<std::string> {
    return name == "lm_head.weight" ? "model.embed_tokens.weight" : name;
  });
}

}  // namespace

std::vector<TensorSlot> decoder_slots(const DecoderConfig& config, bool with_lm_head,
                                      DecoderWeights& weights) {
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  const int64_t q_rows = config.num_attention_heads * config.head_dim;
  const int64_t kv_rows = config.num_key_value_heads * config.head_dim;
  std::vector<TensorSlot> slots = {
      {"model.embed_tokens.weight", {config.vocab_size, hidden}, &weights.embed_tokens},
      {"model.norm.weight", {hidden}, &weights.norm},
  };
  if (with_lm_head && !config.tie_word_embeddings) {
    slots.push_back({"lm_head.weight", {config.vocab_size, hidden}, &weights.lm_head});
  }
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    DecoderLayerWeights& layer = weights.layers[l];
    const auto add = [&](const char* name, std::vector<int64_t> shape, at::Tensor& target) {
      slots.push_back({fmt::format("model.layers.{}.{}", l, name), std::move(shape), &target});
    };
    add("input_layernorm.weight", {hidden}, layer.input_norm);
    add("self_attn.q_proj.weight", {q_rows, hidden}, layer.q);
    add("self_attn.k_proj.weight", {kv_rows, hidden}, layer.k);
    add("self_attn.v_proj.weight", {kv_rows, hidden}, layer.v);
    add("self_attn.o_proj.weight", {hidden, q_rows}, layer.o);
    if (config.attention_bias) {
      add("self_attn.q_proj.bias", {q_rows}, layer.q_bias);
      add("self_attn.k_proj.bias", {kv_rows}, layer.k_bias);
      add("self_attn.v_proj.bias", {kv_rows}, layer.v_bias);
    }
    if (config.attention_out_bias) add("self_attn.o_proj.bias", {hidden}, layer.o_bias);
    add("post_attention_layernorm.weight", {hidden}, layer.post_attention_norm);
    add("mlp.gate_proj.weight", {inner, hidden}, layer.gate);
    add("mlp.up_proj.weight", {inner, hidden}, layer.up);
    add("mlp.down_proj.weight", {hidden, inner}, layer.down);
    if (config.mlp_bias) {
      add("mlp.gate_proj.bias", {inner}, layer.gate_bias);
      add("mlp.up_proj.bias", {inner}, layer.up_bias);
      add("mlp.down_proj.bias", {hidden}, layer.down_bias);
    }
  }
  return slots;
}

Decoder load_decoder(const Checkpoint& file, const DecoderConfig& config, const LoadOptions& options) {
  if (config.hidden_act != "silu" && config.hidden_act != "swish") {
    throw InputError("config.json: expected hidden_act \"silu\", found \"{}\"", config.hidden_act);
  }
  const std::unique_ptr<Checkpoint> part = decoder_part(file);
  const Checkpoint& named = part ? *part : file;
  refuse_scales(named);
  const OutputMatrix output = output_of(named, config, options);
  std::unique_ptr<Checkpoint> doubled;
  if (output == OutputMatrix::kHeadForBoth) doubled = with_head_as_embedding(named);
  const Checkpoint& checkpoint = doubled ? *doubled : named;
  Decoder decoder;
  decoder.config = config;
  if (output == OutputMatrix::kOwn) {
    if (config.tie_word_embeddings) warn_of_untied_output();
    decoder.config.tie_word_embeddings = false;
  }
  decoder.weights.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  const bool with_head = options.with_lm_head && output != OutputMatrix::kNone;
  const std::vector<TensorSlot> slots = decoder_slots(decoder.config, with_head, decoder.weights);
  check_slots(checkpoint, slots, "decoder");
  if (with_head != options.with_lm_head) {
    throw InputError(
        "checkpoint: expected an output matrix (lm_head.weight), found none, and tie_word_embeddings is false: "
        "a base model gives hidden states, q and k but no logits. Try: the checkpoint of the whole model, or "
        "what needs no logits (trace --dump q,k; sample)");
  }
  warn_of_other_tensors(checkpoint, slots, "decoder", [](const std::string& name) {
    return is_frequency_buffer(name) || name == "lm_head.weight";  // left out on request, or tied
  });
  fill_slots(checkpoint, slots, options.dtype, options.device);
  if (decoder.config.tie_word_embeddings && options.with_lm_head) {
    decoder.weights.lm_head = decoder.weights.embed_tokens;
  }
  return decoder;
}

}  // namespace ropescope
