// The decoder families. A new one: its file in families/, its name in families/families.h, its line here.
#include <algorithm>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/families/families.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

template <typename Predicate>
const Architecture* first_where(const Predicate& predicate) {
  for (const Architecture* family : architectures()) {
    if (predicate(*family)) return family;
  }
  return nullptr;
}

}  // namespace

const std::vector<const Architecture*>& architectures() {
  using namespace families;
  static const std::vector<const Architecture*> all = {
      &kLlama, &kQwen2,   &kQwen2Vl,  &kQwen25Vl, &kMistral, &kMinistral3, &kSmollm3,    &kGranite,
      &kQwen3, &kQwen3Vl, &kQwen3Moe, &kQwen35,   &kGemma2,  &kGemma3,     &kGemma4,     &kPhi3,
      &kGlm4,  &kGlm4v,   &kOlmo2,    &kOlmo3,    &kCohere2, &kGptOss,     &kDeepseekV3, &kLlama4,
  };
  return all;
}

const Architecture& architecture_of(const DecoderConfig& decoder) {
  const auto* found =
      first_where([&](const Architecture& family) { return family.name == decoder.model_type; });
  if (found == nullptr) throw InternalError("no architecture has the name \"{}\"", decoder.model_type);
  return *found;
}

bool is_trainable(const DecoderConfig& decoder) {
  return architecture_of(decoder).trains &&
         std::all_of(decoder.layers.begin(), decoder.layers.end(), [](const LayerShape& layer) {
           return layer.mixer == Mixer::kSoftmax && !layer.experts;
         });
}

const Architecture* find_architecture(const std::string& model_type, const std::string& class_name) {
  return first_where([&](const Architecture& family) {
    return model_type.empty() ? has(family.classes, class_name) : has(family.model_types, model_type);
  });
}

const Architecture* find_wrapped_architecture(const std::string& model_type) {
  return first_where([&](const Architecture& family) { return has(family.wrappers, model_type); });
}

const GgufNames* find_gguf_names(const std::string& general_architecture) {
  for (const Architecture* family : architectures()) {
    for (const GgufNames& names : family->gguf) {
      if (names.architecture == general_architecture) return &names;
    }
  }
  return nullptr;
}

std::vector<TensorRule> tensor_rules(const DecoderConfig& decoder) {
  const Architecture& family = architecture_of(decoder);
  std::vector<TensorRule> rules = family.tensors(decoder, -1);
  for (int64_t layer = 0; layer < decoder.num_hidden_layers; ++layer) {
    for (TensorRule& rule : family.tensors(decoder, layer)) rules.push_back(std::move(rule));
  }
  return rules;
}

std::string experts_prefix(const DecoderConfig& decoder, int64_t layer) {
  return fmt::format("model.layers.{}.{}", layer, architecture_of(decoder).experts);
}

}  // namespace ropescope
