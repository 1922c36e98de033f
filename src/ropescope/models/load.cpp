#include <map>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/models/decoder.h"

namespace ropescope {

namespace {

// A tensor that the architecture has: its name, its shape, and where it goes.
struct Slot {
  std::string name;
  std::vector<int64_t> shape;
  at::Tensor* target;
};

// `weights.layers` already has its final size: slots keep addresses.
std::vector<Slot> slots_of(const DecoderConfig& config, bool with_lm_head, DecoderWeights& weights) {
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  const int64_t q_rows = config.num_attention_heads * config.head_dim;
  const int64_t kv_rows = config.num_key_value_heads * config.head_dim;
  std::vector<Slot> slots = {
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

// The first few names, and how many more there are.
std::string name_some(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  const std::vector<std::string> shown(names.begin(),
                                       names.begin() + static_cast<int64_t>(std::min(kShown, names.size())));
  const size_t rest = names.size() - shown.size();
  return fmt::format("{}{}", fmt::join(shown, ", "), rest > 0 ? fmt::format(" and {} more", rest) : "");
}

void check_tensors(const Checkpoint& checkpoint, const std::vector<Slot>& slots) {
  std::vector<std::string> missing, wrong;
  for (const Slot& slot : slots) {
    const TensorInfo* info = checkpoint.find(slot.name);
    if (info == nullptr) {
      missing.push_back(slot.name);
    } else if (info->shape != slot.shape) {
      wrong.push_back(fmt::format("{}: expected [{}], found [{}] ({})", slot.name,
                                  fmt::join(slot.shape, ", "), fmt::join(info->shape, ", "), info->file));
    }
  }
  if (!missing.empty()) {
    throw InputError("checkpoint: {} of {} tensors are missing: {}", missing.size(), slots.size(),
                     name_some(missing));
  }
  if (!wrong.empty()) {
    throw InputError("checkpoint: shapes that do not follow from the configuration: {}", name_some(wrong));
  }
}

void warn_of_extras(const Checkpoint& checkpoint, const std::vector<Slot>& slots) {
  std::set<std::string> expected = {"lm_head.weight"};  // left out on request, or tied
  for (const Slot& slot : slots) expected.insert(slot.name);
  std::vector<std::string> extra;
  for (const TensorInfo& info : checkpoint.tensors()) {
    // The frequencies follow from the configuration (Llama-3 GGUF files carry their factors as a tensor).
    const bool buffer =
        info.name.find("rotary_emb.inv_freq") != std::string::npos || info.name == "rope_freqs.weight";
    if (!buffer && expected.count(info.name) == 0) extra.push_back(info.name);
  }
  if (!extra.empty()) {
    log_warning("checkpoint: {} tensors are not part of the decoder and were left out: {}", extra.size(),
                name_some(extra));
  }
}

}  // namespace

Decoder load_decoder(const Checkpoint& checkpoint, const DecoderConfig& config, const LoadOptions& options) {
  if (config.hidden_act != "silu" && config.hidden_act != "swish") {
    throw InputError("config.json: expected hidden_act \"silu\", found \"{}\"", config.hidden_act);
  }
  Decoder decoder;
  decoder.config = config;
  decoder.weights.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  const std::vector<Slot> slots = slots_of(config, options.with_lm_head, decoder.weights);
  check_tensors(checkpoint, slots);
  warn_of_extras(checkpoint, slots);
  for (const Slot& slot : slots) *slot.target = checkpoint.take(slot.name, options.dtype).to(options.device);
  if (config.tie_word_embeddings && options.with_lm_head) {
    decoder.weights.lm_head = decoder.weights.embed_tokens;
  }
  return decoder;
}

}  // namespace ropescope
