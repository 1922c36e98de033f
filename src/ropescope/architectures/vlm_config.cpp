// The vision-language families. A new one: its file in vlm_families/, its name in vlm_families.h, its line here.
#include "ropescope/architectures/vlm_config.h"

#include <algorithm>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/vlm_families/vlm_families.h"

namespace ropescope {

const std::vector<const VlmFamily*>& vlm_families() {
  using namespace ropescope::vlm_family;
  static const std::vector<const VlmFamily*> all = {
      &kQwen2Vl,   &kNaflex,         &kQwen25Vl, &kQwen3Vl,  &kQwen35,  &kGlm4v,  &kLlava,
      &kLlavaNext, &kLlavaOnevision, &kInternVl, &kIdefics3, &kSmolVlm, &kGemma3,
  };
  return all;
}

namespace {

bool lists(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_of_family(const VlmFamily& family, const Json& config) {
  const Json* type = json_find(config, "model_type");
  const Json* classes = json_find(config, "architectures");
  if (type != nullptr) {
    if (!type->is_string() || !lists(family.model_types, type->get<std::string>())) return false;
  } else if (classes == nullptr || !classes->is_array() || classes->empty() ||
             !classes->front().is_string() || !lists(family.classes, classes->front().get<std::string>())) {
    return false;
  }
  return family.claims == nullptr || family.claims(config);
}

}  // namespace

const VlmFamily* find_vlm_family(const Json& config) {
  const auto& all = vlm_families();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const VlmFamily* family) { return is_of_family(*family, config); });
  return found == all.end() ? nullptr : *found;
}

const VlmFamily& vlm_family_of(const std::string& name) {
  for (const VlmFamily* family : vlm_families()) {
    if (family->name == name) return *family;
  }
  throw InternalError("no vision-language family has the name \"{}\"", name);
}

VlmConfig parse_vlm_config(const Json& config, const std::string& what) {
  if (!config.is_object()) throw InputError("{}: expected a JSON object", what);
  const VlmFamily* family = find_vlm_family(config);
  if (family == nullptr) {
    std::string known;
    for (const VlmFamily* each : vlm_families()) known += (known.empty() ? "" : ", ") + each->name;
    const Json* type = json_find(config, "model_type");
    throw UnsupportedModel("{}: model_type: expected a vision-language model among {}, found {}", what, known,
                           type == nullptr ? "none" : type->dump());
  }
  VlmConfig vlm;
  family->parse(config, vlm, what);
  vlm.family = family;
  check_vision_config(vlm.vision, what + ": vision_config");
  if (vlm.vision.packed) vlm.feature_layers = {vlm.vision.num_hidden_layers};
  return vlm;
}

VlmConfig vlm_config_of(const LlavaConfig& llava) {
  VlmConfig vlm;
  vlm.family = &vlm_family::kLlavaNext;
  vlm.vision = llava.tower;
  vlm.text_hidden_size = llava.decoder.hidden_size;
  vlm.tokens.image = llava.image_token_id;
  vlm.pictures = PictureTokens::kAnyres;
  vlm.feature_layers = llava.feature_layers;
  vlm.has_newline = true;
  vlm.tie_word_embeddings = llava.decoder.tie_word_embeddings;
  vlm.connector.in = llava.feature_size();
  vlm.connector.inner = vlm.connector.out = llava.decoder.hidden_size;
  vlm.connector.activation = llava.projector_activation;
  vlm.connector.bias = llava.projector_bias;
  vlm.connector.first_name = "linear_1";
  vlm.connector.second_name = "linear_2";
  return vlm;
}

}  // namespace ropescope
