#include "ropescope/architectures/gguf_names.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <ATen/ops/sub.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

constexpr std::array<GgufName, 6> kModelNames = {{
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"per_layer_token_embd", "model.embed_tokens_per_layer"},
    {"per_layer_model_proj", "model.per_layer_model_projection"},
    {"per_layer_proj_norm", "model.per_layer_projection_norm"},
}};

constexpr std::array<GgufName, 15> kBlockNames = {{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"ffn_gate_inp", "mlp.gate"},
    {"ffn_gate_exps", "mlp.experts.gate_proj"},
    {"ffn_up_exps", "mlp.experts.up_proj"},
    {"ffn_down_exps", "mlp.experts.down_proj"},
}};

std::string_view lookup(std::span<const GgufName> names, std::string_view name) {
  for (const GgufName& pair : names) {
    if (pair.gguf == name) return pair.hugging_face;
  }
  return {};
}

/// "blk.12.attn_q.weight" in parts.
struct NameParts {
  std::string_view block;  ///< "12"; empty outside of blocks
  std::string_view rest;   ///< "attn_q.weight"; empty if the name has another form
};

NameParts split_name(std::string_view name) {
  constexpr std::string_view kBlock = "blk.";
  if (!name.starts_with(kBlock)) return {{}, name};
  const size_t dot = name.find('.', kBlock.size());
  if (dot == std::string_view::npos) return {};
  const std::string_view block = name.substr(kBlock.size(), dot - kBlock.size());
  const bool digits =
      !block.empty() && block.size() < 10 && block.find_first_not_of("0123456789") == std::string_view::npos;
  return digits ? NameParts{block, name.substr(dot + 1)} : NameParts{};
}

/// The whole name, or the module before ".weight" or ".bias", which stays.
std::string translated(std::string_view rest, std::span<const GgufName> names) {
  if (const std::string_view whole = lookup(names, rest); !whole.empty()) return std::string(whole);
  const size_t last = rest.rfind('.');
  if (last == std::string_view::npos) return {};
  const std::string_view kind = rest.substr(last + 1);
  if (kind != "weight" && kind != "bias") return {};
  const std::string_view module = lookup(names, rest.substr(0, last));
  return module.empty() ? std::string() : fmt::format("{}.{}", module, kind);
}

int64_t permuted_heads(const GgufTensor& tensor, bool keys, const std::string& architecture,
                       const GgufMetadata& metadata, const std::string& what) {
  const std::string key = architecture + ".attention.head_count";
  const int64_t query_heads = gguf_integer(metadata, key, what);
  const int64_t heads = keys ? gguf_integer_or(metadata, key + "_kv", query_heads, what) : query_heads;
  const int64_t rows = tensor.shape.empty() ? 1 : tensor.shape.front();
  if (heads < 1 || rows % heads != 0 || rows / heads % 2 != 0) {
    throw InputError("{}: tensor \"{}\": expected rows for {} heads of an even size, found {} rows", what,
                     tensor.name, heads, rows);
  }
  return heads;
}

}  // namespace

GgufRole gguf_named(const GgufTensor& tensor, std::span<const GgufName> own) {
  const NameParts parts = split_name(tensor.name);
  if (parts.block.empty()) {
    const std::string name = translated(parts.rest, kModelNames);
    return {name.empty() ? tensor.name : name};
  }
  std::string name = translated(parts.rest, own);
  if (name.empty()) name = translated(parts.rest, kBlockNames);
  return {name.empty() ? tensor.name : fmt::format("model.layers.{}.{}", parts.block, name)};
}

GgufRole gguf_llama_role(const GgufTensor& tensor, const GgufMetadata& metadata, const std::string& what) {
  GgufRole role = gguf_named(tensor);
  const bool keys = role.name.find(".self_attn.k_proj.") != std::string::npos;
  if (keys || role.name.find(".self_attn.q_proj.") != std::string::npos) {
    const std::string architecture = gguf_architecture(metadata, what).value_or("");
    role.permuted_heads = permuted_heads(tensor, keys, architecture, metadata, what);
  }
  return role;
}

GgufRole gguf_plain_role(const GgufTensor& tensor, const GgufMetadata&, const std::string&) {
  return gguf_named(tensor);
}

void subtract_one(GgufRole& role) {
  role.make = [](const std::vector<at::Tensor>& stored) { return at::sub(stored.front(), 1); };
}

GgufRole role_in_hugging_face_form(const GgufTensor& tensor, const GgufMetadata& metadata,
                                   const std::string& what) {
  const std::string architecture = gguf_architecture(metadata, what).value_or("");
  const GgufNames* names = find_gguf_names(architecture);
  return names == nullptr ? GgufRole{tensor.name} : names->role(tensor, metadata, what);
}

}  // namespace ropescope
