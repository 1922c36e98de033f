#include "ropescope/weights/gguf_names.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

struct NamePair {
  std::string_view gguf, hugging_face;
};

constexpr std::array<NamePair, 3> kModelNames = {{
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
}};

constexpr std::array<NamePair, 9> kBlockNames = {{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};

template <size_t kCount>
std::string_view lookup(const std::array<NamePair, kCount>& names, std::string_view name) {
  for (const NamePair& pair : names) {
    if (pair.gguf == name) return pair.hugging_face;
  }
  return {};
}

/// "blk.12.attn_q.weight" in parts; module is empty if the name has another form.
struct NameParts {
  std::string_view block;   ///< "12"; empty outside blocks
  std::string_view module;  ///< "attn_q"
  std::string_view kind;    ///< "weight" or "bias"
};

NameParts split_name(std::string_view name) {
  NameParts parts;
  const size_t last = name.rfind('.');
  if (last == std::string_view::npos) return {};
  parts.kind = name.substr(last + 1);
  if (parts.kind != "weight" && parts.kind != "bias") return {};
  parts.module = name.substr(0, last);
  constexpr std::string_view kBlock = "blk.";
  if (parts.module.substr(0, kBlock.size()) != kBlock) return parts;
  const size_t dot = parts.module.find('.', kBlock.size());
  if (dot == std::string_view::npos) return {};
  parts.block = parts.module.substr(kBlock.size(), dot - kBlock.size());
  parts.module = parts.module.substr(dot + 1);
  const bool digits = !parts.block.empty() && parts.block.size() < 10 &&
                      parts.block.find_first_not_of("0123456789") == std::string_view::npos;
  return digits ? parts : NameParts{};
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

bool gguf_architecture_is_known(const std::string& architecture) {
  return architecture == "llama" || architecture == "qwen2";
}

GgufRole gguf_role(const GgufTensor& tensor, const std::string& architecture, const GgufMetadata& metadata,
                   const std::string& what) {
  const NameParts parts = split_name(tensor.name);
  if (parts.block.empty()) {
    const std::string_view module = lookup(kModelNames, parts.module);
    if (module.empty()) return {tensor.name};
    return {fmt::format("{}.{}", module, parts.kind)};
  }
  const std::string_view module = lookup(kBlockNames, parts.module);
  if (module.empty()) return {tensor.name};
  GgufRole role{fmt::format("model.layers.{}.{}.{}", parts.block, module, parts.kind)};
  const bool keys = parts.module == "attn_k";
  if (architecture == "llama" && (keys || parts.module == "attn_q")) {
    role.permuted_heads = permuted_heads(tensor, keys, architecture, metadata, what);
  }
  return role;
}

}  // namespace ropescope
