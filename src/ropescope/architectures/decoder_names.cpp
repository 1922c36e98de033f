#include "ropescope/architectures/decoder_names.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include <ATen/ops/equal.h>

#include "ropescope/architectures/llava_names.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/log.h"
#include "ropescope/weights/renamed_checkpoint.h"
#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

namespace {

const std::string kModelPrefix = "model.";
const std::string kHead = "lm_head.weight";
const std::string kEmbedding = "model.embed_tokens.weight";

/// What stands before `layers.0.` in the names, if that is one thing: of several (towers, layers that predict further
/// tokens), the one that an embedding of tokens goes by.
std::optional<std::string> prefix_of_layers(const Checkpoint& file) {
  constexpr std::string_view kFirst = "layers.0.";
  // Every family has one of them in its first layer.
  constexpr std::array<std::string_view, 5> kMembers = {
      "self_attn.q_proj.weight", "self_attn.qkv_proj.weight", "self_attn.o_proj.weight",
      "input_layernorm.weight", "linear_attn.out_proj.weight"};
  std::set<std::string> found;
  for (const TensorInfo& info : file.tensors()) {
    const std::string_view name = info.name;
    for (const std::string_view member : kMembers) {
      if (!name.ends_with(member)) continue;
      const std::string_view before = name.substr(0, name.size() - member.size());
      if (!before.ends_with(kFirst)) continue;
      const std::string_view prefix = before.substr(0, before.size() - kFirst.size());
      if (prefix.empty() || prefix.back() == '.') found.emplace(prefix);
    }
  }
  if (found.size() > 1) {
    std::erase_if(found, [&](const std::string& prefix) {
      return file.find(prefix + "embed_tokens.weight") == nullptr;
    });
  }
  if (found.size() != 1) return std::nullopt;
  return *found.begin();
}

/// Nothing is widened that both have in one plain type.
at::ScalarType common_type(const TensorInfo& a, const TensorInfo& b) {
  const StoredType* type = a.dtype == b.dtype ? find_stored_type(a.dtype) : nullptr;
  if (type == nullptr || !type->type) return at::kFloat;
  const bool plain = *type->type == at::kBFloat16 || *type->type == at::kHalf || *type->type == at::kDouble;
  return plain ? *type->type : at::kFloat;
}

bool same_numbers(const Checkpoint& checkpoint, const TensorInfo& a, const TensorInfo& b) {
  if (a.shape != b.shape) return false;
  const at::ScalarType type = common_type(a, b);
  return at::equal(checkpoint.take(a.name, type), checkpoint.take(b.name, type));
}

bool says_tied(const Json& config, const std::string& what) {
  return json_bool_or(config, "tie_word_embeddings", false, what);
}

}  // namespace

std::unique_ptr<Checkpoint> decoder_part(const Checkpoint& file) {
  // The language model inside a vision-language checkpoint goes by the names of a checkpoint of its own.
  if (has_vision_tensors(file)) {
    auto part = llava_part(file, LlavaPart::kDecoder);
    if (!part->tensors().empty()) return part;
  }
  const std::optional<std::string> prefix = prefix_of_layers(file);
  if (!prefix || *prefix == kModelPrefix) return nullptr;
  const bool whole = prefix->ends_with(kModelPrefix);
  const std::string outer = whole ? prefix->substr(0, prefix->size() - kModelPrefix.size()) : *prefix;
  return rename_tensors(file, [&](const std::string& name) -> std::optional<std::string> {
    if (name == kHead || name == outer + kHead) return kHead;
    return name.starts_with(*prefix) ? kModelPrefix + name.substr(prefix->size()) : name;
  });
}

OutputMatrix output_matrix(const Checkpoint& decoder, bool tie_word_embeddings) {
  const TensorInfo* head = decoder.find(kHead);
  if (!tie_word_embeddings) return head == nullptr ? OutputMatrix::kNone : OutputMatrix::kOwn;
  if (head == nullptr) return OutputMatrix::kEmbedding;
  const TensorInfo* embedding = decoder.find(kEmbedding);
  if (embedding == nullptr) return OutputMatrix::kHeadForBoth;
  return same_numbers(decoder, *head, *embedding) ? OutputMatrix::kEmbedding : OutputMatrix::kOwn;
}

void warn_of_untied_output() {
  log_warning(
      "tie_word_embeddings is true, yet the checkpoint has an lm_head.weight that differs from the embedding: "
      "the two are not tied, and its own lm_head.weight gives the logits");
}

bool is_tied(const std::filesystem::path& model, bool tie_word_embeddings) {
  if (!tie_word_embeddings) return false;
  const auto file = open_checkpoint(model);
  const auto part = decoder_part(*file);
  return output_matrix(part ? *part : *file, tie_word_embeddings) != OutputMatrix::kOwn;
}

Json with_true_tie(Json config, const std::filesystem::path& model) {
  const std::string what = (model / "config.json").string();
  if (!config.is_object()) return config;
  std::vector<const char*> nested;
  for (const char* key : {"text_config", "llm_config"}) {
    if (json_has(config, key) && config[key].is_object()) nested.push_back(key);
  }
  const bool tied =
      says_tied(config, what) || std::any_of(nested.begin(), nested.end(),
                                             [&](const char* key) { return says_tied(config[key], what); });
  if (!tied || is_tied(model, tied)) return config;
  config["tie_word_embeddings"] = false;
  for (const char* key : nested) config[key]["tie_word_embeddings"] = false;
  return config;
}

}  // namespace ropescope
