// Qwen3.5 in GGUF files ("qwen35"). Its converter adds 1 to all norms but ssm_norm, stores -exp(A_log), and brings value
// heads from grouped order (those of key head 0, those of key head 1, ...) to tiled order (the first of every key head,
// the second of every key head, ...).
#include "ropescope/architectures/families/qwen3_5_gguf.h"

#include <array>

#include <ATen/ops/cat.h>
#include <ATen/ops/log.h>
#include <ATen/ops/neg.h>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/core/errors.h"

namespace ropescope::families {

namespace {

constexpr std::array<GgufName, 10> kQwen35Names = {{
    {"post_attention_norm", "post_attention_layernorm"},
    {"attn_qkv", "linear_attn.in_proj_qkv"},
    {"attn_gate", "linear_attn.in_proj_z"},
    {"ssm_alpha", "linear_attn.in_proj_a"},
    {"ssm_beta", "linear_attn.in_proj_b"},
    {"ssm_conv1d", "linear_attn.conv1d"},
    {"ssm_a", "linear_attn.A_log"},
    {"ssm_dt.bias", "linear_attn.dt_bias"},
    {"ssm_norm", "linear_attn.norm"},
    {"ssm_out", "linear_attn.out_proj"},
}};

/// Value heads: `repeats` for each of `key_heads`.
struct ValueHeads {
  int64_t key_heads = 0, repeats = 0, value_dim = 0, key_rows = 0;

  int64_t count() const { return key_heads * repeats; }
};

ValueHeads value_heads(const GgufMetadata& metadata, const std::string& what) {
  constexpr int64_t kMost = 1 << 20;
  const GgufKeys keys(metadata, gguf_string(metadata, "general.architecture", what), what);
  ValueHeads heads;
  heads.key_heads = keys.integer("ssm.group_count");
  const int64_t values = keys.integer("ssm.time_step_rank");
  const int64_t inner = keys.integer("ssm.inner_size");
  const int64_t key_dim = keys.integer("ssm.state_size");
  const bool sound = heads.key_heads > 0 && values > 0 && values < kMost && values % heads.key_heads == 0 &&
                     inner > 0 && inner < kMost * kMost && inner % values == 0 && key_dim > 0 &&
                     key_dim < kMost;
  if (!sound) {
    throw InputError("{}: {}: expected {} key heads to divide {} value heads, and those {} channels", what,
                     keys.name("ssm.group_count"), heads.key_heads, values, inner);
  }
  heads.repeats = values / heads.key_heads;
  heads.value_dim = inner / values;
  heads.key_rows = 2 * heads.key_heads * key_dim;
  return heads;
}

/// Rows [repeat, key head, dim] of `tensor` become [key head, repeat, dim].
at::Tensor grouped(const at::Tensor& tensor, const ValueHeads& heads, int64_t dim) {
  const int64_t columns = tensor.numel() / tensor.size(0);
  return tensor.view({heads.repeats, heads.key_heads, dim, columns}).transpose(0, 1).reshape(tensor.sizes());
}

/// What has to be done to a tensor whose first dimension is of `rows` rows, the last of them value heads of size `dim`.
GgufRole::Make regroup_rows(const ValueHeads& heads, int64_t dim) {
  return [heads, dim](const std::vector<at::Tensor>& stored) {
    const at::Tensor& tensor = stored.front();
    const int64_t rows = heads.count() * dim;
    const int64_t kept = tensor.size(0) - rows;
    const at::Tensor values = grouped(tensor.narrow(0, kept, rows).contiguous(), heads, dim);
    return kept == 0 ? values : at::cat({tensor.narrow(0, 0, kept), values}, 0);
  };
}

/// `dimensions` of them, the one at `place` of the size that the metadata says.
void expect_shape(const GgufTensor& tensor, size_t dimensions, size_t place, int64_t size,
                  const std::string& what) {
  if (tensor.shape.size() == dimensions && tensor.shape[place] == size) return;
  throw InputError("{}: tensor \"{}\": expected {} {} by the metadata, found another shape", what,
                   tensor.name, size, place == 0 ? "rows" : "columns");
}

bool is_of(const GgufTensor& tensor, const char* name) {
  const size_t dot = tensor.name.find('.', 4);  // behind "blk.12"
  return tensor.name.starts_with("blk.") && dot != std::string::npos &&
         tensor.name.compare(dot + 1, std::string::npos, name) == 0;
}

}  // namespace

DecoderConfig qwen3_5_gguf_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                  const std::string& what) {
  const GgufFile file(contents, bytes, what);
  const GgufKeys& keys = file.keys;
  const ValueHeads heads = value_heads(contents.metadata, what);
  Json config = gguf_common_json(file, kQwen35.name);
  config["rope_parameters"] = to_json(gguf_rope(file, config["head_dim"]));
  constexpr const char* kAxes = "rope.dimension_sections";
  if (keys.has(kAxes)) {  // of frames, rows, columns, and a fourth axis that is not used
    const std::vector<int64_t> sections = keys.layer_integers(kAxes, 3);
    config["rope_parameters"]["mrope_section"] = sections;
  }
  config["linear_num_key_heads"] = heads.key_heads;
  config["linear_num_value_heads"] = heads.count();
  config["linear_key_head_dim"] = keys.integer("ssm.state_size");
  config["linear_value_head_dim"] = heads.value_dim;
  config["linear_conv_kernel_dim"] = keys.integer("ssm.conv_kernel");
  if (keys.is_array("attention.recurrent_layers")) {
    config["layer_types"] = Json::array();
    for (const int64_t recurrent : keys.layer_integers("attention.recurrent_layers", file.layers())) {
      config["layer_types"].push_back(recurrent != 0 ? kLinear : kFull);
    }
  } else {
    config["full_attention_interval"] = keys.integer_or("full_attention_interval", 4);
  }
  return parse_decoder_config(config, what);
}

GgufRole qwen3_5_gguf_role(const GgufTensor& tensor, const GgufMetadata& metadata, const std::string& what) {
  GgufRole role = gguf_named(tensor, kQwen35Names);
  if (role.name.ends_with("norm.weight") && !is_of(tensor, "ssm_norm.weight")) subtract_one(role);
  const bool rows = is_of(tensor, "attn_qkv.weight") || is_of(tensor, "ssm_conv1d.weight");
  if (rows || is_of(tensor, "attn_gate.weight")) {
    const ValueHeads heads = value_heads(metadata, what);
    expect_shape(tensor, 2, 0, (rows ? heads.key_rows : 0) + heads.count() * heads.value_dim, what);
    role.make = regroup_rows(heads, heads.value_dim);
    if (is_of(tensor, "ssm_conv1d.weight")) {
      role.shape = {tensor.shape[0], 1, tensor.shape[1]};
      role.make = [make = role.make](const std::vector<at::Tensor>& stored) {
        return make(stored).unsqueeze(1);
      };
    }
    return role;
  }
  if (is_of(tensor, "ssm_alpha.weight") || is_of(tensor, "ssm_beta.weight") || is_of(tensor, "ssm_dt.bias")) {
    const ValueHeads heads = value_heads(metadata, what);
    expect_shape(tensor, tensor.name.ends_with(".weight") ? 2 : 1, 0, heads.count(), what);
    role.make = regroup_rows(heads, 1);
  } else if (is_of(tensor, "ssm_a")) {
    const ValueHeads heads = value_heads(metadata, what);
    expect_shape(tensor, tensor.name.ends_with(".weight") ? 2 : 1, 0, heads.count(), what);
    role.make = [make = regroup_rows(heads, 1)](const std::vector<at::Tensor>& stored) {
      return at::log(at::neg(make(stored)));
    };
  } else if (is_of(tensor, "ssm_out.weight")) {
    const ValueHeads heads = value_heads(metadata, what);
    expect_shape(tensor, 2, 1, heads.count() * heads.value_dim, what);
    role.make = [make = regroup_rows(heads, heads.value_dim)](const std::vector<at::Tensor>& stored) {
      return make({stored.front().t().contiguous()}).t();
    };
  }
  return role;
}

}  // namespace ropescope::families
