#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ropescope/architectures/decoder_names.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/decoder.h"
#include "ropescope/models/streamed_weights.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/weights/renamed_checkpoint.h"

namespace ropescope {

namespace {

// The frequencies follow from the configuration (Llama-3 GGUF files carry their factors as a tensor).
bool is_frequency_buffer(const std::string& name) {
  return name.find("rotary_emb.inv_freq") != std::string::npos || name == "rope_freqs.weight" ||
         name.starts_with("rope_factors_");
}

/// Formats with scales beside the weights (NVFP4 in GGUF, ...) mean products that are not taken here; block scales of
/// FP8 weights are (blocks/expert_formats.h).
void refuse_scales(const Checkpoint& checkpoint, const std::vector<TensorSlot>& slots) {
  std::set<std::string> own;
  for (const TensorSlot& slot : slots) own.insert(slot.file_name());
  for (const TensorInfo& info : checkpoint.tensors()) {
    const bool scale = info.name.ends_with("scale") || info.name.ends_with("scale_2") ||
                       (info.name.ends_with("scale_inv") && !info.name.ends_with(".weight_scale_inv"));
    if (!scale || own.count(info.name) > 0) continue;
    throw InputError(
        "checkpoint: tensor \"{}\": weights that a tensor of their own scales are not supported. Try: the model in "
        "float32, bfloat16 or float16, or a GGUF file with another quantisation",
        info.name);
  }
}

/// What files of these families hold beside their text model: layers for several tokens at once (MTP), vision.
bool is_beside_the_decoder(const std::string& name, const DecoderConfig& config) {
  if (name.starts_with("mtp.") || name.find("visual.") != std::string::npos) return true;
  if (name.starts_with("model.vision_model.") || name.starts_with("model.connector.")) return true;
  int64_t layer = 0;
  return name.starts_with("model.layers.") &&
         std::from_chars(name.data() + 13, name.data() + name.size(), layer).ec == std::errc() &&
         layer >= config.num_hidden_layers;
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

namespace {

/// The members of a struct of weights by their kinds.
template <typename Visit>
std::map<TensorKind, at::Tensor*> members(const Visit& visit) {
  std::map<TensorKind, at::Tensor*> by_kind;
  visit([&](TensorKind kind, at::Tensor& tensor) { by_kind[kind] = &tensor; });
  return by_kind;
}

void add_slots(const std::vector<TensorRule>& rules, const std::map<TensorKind, at::Tensor*>& targets,
               std::vector<TensorSlot>& slots) {
  for (const TensorRule& rule : rules) {
    const auto target = targets.find(rule.kind);
    if (target == targets.end()) throw InternalError("decoder: nothing takes tensor \"{}\"", rule.name);
    TensorSlot slot{unfused_name(rule), rule.shape, target->second, rule.kind};
    if (rule.first_row >= 0)
      slot.stored_name = rule.name, slot.first_row = rule.first_row, slot.stored_rows = rule.stored_rows;
    slots.push_back(std::move(slot));
  }
}

bool has_experts(const DecoderConfig& config) {
  return std::any_of(config.layers.begin(), config.layers.end(),
                     [](const LayerShape& layer) { return layer.experts.has_value(); });
}

}  // namespace

std::vector<TensorSlot> outside_slots(const DecoderConfig& config, bool with_lm_head,
                                      DecoderWeights& weights) {
  std::vector<TensorRule> outside = architecture_of(config).tensors(config, -1);
  if (!with_lm_head)
    std::erase_if(outside, [](const TensorRule& rule) { return rule.kind == TensorKind::kOutput; });
  std::vector<TensorSlot> slots;
  add_slots(outside, members([&](const auto& f) { visit_outside(weights, f); }), slots);
  return slots;
}

std::vector<TensorSlot> layer_slots(const DecoderConfig& config, int64_t layer, DecoderWeights& weights) {
  std::vector<TensorSlot> slots;
  DecoderLayerWeights& of_layer = weights.layers[static_cast<size_t>(layer)];
  add_slots(architecture_of(config).tensors(config, layer),
            members([&](const auto& f) { visit_layer(of_layer, f); }), slots);
  return slots;
}

std::vector<TensorSlot> decoder_slots(const DecoderConfig& config, bool with_lm_head,
                                      DecoderWeights& weights) {
  std::vector<TensorSlot> slots = outside_slots(config, with_lm_head, weights);
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    for (TensorSlot& slot : layer_slots(config, static_cast<int64_t>(l), weights))
      slots.push_back(std::move(slot));
  }
  return slots;
}

namespace {

/// Slots of a checkpoint of a training, which has the parts of fused tensors by themselves.
void take_parts_apart(const Checkpoint& checkpoint, std::vector<TensorSlot>& slots) {
  for (TensorSlot& slot : slots) {
    if (checkpoint.find(slot.file_name()) == nullptr && checkpoint.find(slot.name) != nullptr)
      slot.stored_name.clear();
  }
}

/// Tables are left in their file, the rest outside of layers is small.
void stream(std::shared_ptr<const Checkpoint> checkpoint, const DecoderConfig& config, bool with_head,
            const LoadOptions& options, Decoder& decoder) {
  const auto access = std::make_shared<StreamedWeights>(checkpoint, options.dtype, options.device);
  std::vector<TensorSlot> outside = outside_slots(config, with_head, decoder.weights), small;
  for (const TensorSlot& slot : outside) {
    const bool table = slot.kind == TensorKind::kEmbedding || slot.kind == TensorKind::kOutput ||
                       slot.kind == TensorKind::kLayerEmbedding;
    if (table && checkpoint->gives_rows(slot.file_name())) {
      access->add_table(slot);
    } else {
      small.push_back(slot);
    }
  }
  fill_slots(*checkpoint, small, options.dtype, options.device);
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) {
    std::vector<TensorSlot> slots = layer_slots(config, l, decoder.weights);
    take_parts_apart(*checkpoint, slots);
    access->add_part(slots);
  }
  decoder.access = access;
}

Decoder load(const Checkpoint& file, const std::shared_ptr<const Checkpoint>& shared,
             const DecoderConfig& config, const LoadOptions& options) {
  const std::shared_ptr<const Checkpoint> part = decoder_part(file);
  const Checkpoint& named = part ? *part : file;
  const OutputMatrix output = output_of(named, config, options);
  std::shared_ptr<const Checkpoint> doubled;
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
  std::vector<TensorSlot> slots = decoder_slots(decoder.config, with_head, decoder.weights);
  take_parts_apart(checkpoint, slots);
  refuse_scales(named, slots);
  check_slots(checkpoint, slots, "decoder");
  if (with_head != options.with_lm_head) {
    throw InputError(
        "checkpoint: expected an output matrix (lm_head.weight), found none, and tie_word_embeddings is false: "
        "a base model gives hidden states, q and k but no logits. Try: the checkpoint of the whole model, or "
        "what needs no logits (trace --dump q,k; sample)");
  }
  const bool experts = has_experts(config);
  warn_of_other_tensors(checkpoint, slots, "decoder", [&](const std::string& name) {
    // Left out on request, or tied; experts are read when they are needed.
    return is_frequency_buffer(name) || name == "lm_head.weight" || name.ends_with("weight_scale_inv") ||
           (experts && name.find("experts.") != std::string::npos) || is_beside_the_decoder(name, config);
  });
  // Views and what they look at live as long as anything may be read.
  const auto kept = [&](const Checkpoint& view) {
    if (!shared) {
      throw InternalError("a decoder that reads its file while it runs: load it from a shared checkpoint");
    }
    return std::shared_ptr<const Checkpoint>(&view, [part, doubled, shared](const Checkpoint*) {});
  };
  if (weights_are_streamed(options.weights, options.device, options.dtype,
                           count_bytes(checkpoint, slots, options.dtype))) {
    stream(kept(checkpoint), decoder.config, with_head, options, decoder);
  } else {
    fill_slots(checkpoint, slots, options.dtype, options.device);
  }
  if (decoder.config.tie_word_embeddings && options.with_lm_head) {
    decoder.weights.lm_head = decoder.weights.embed_tokens;
  }
  if (!experts) return decoder;
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) {
    if (!config.layer(l).experts) continue;
    decoder.weights.layers[static_cast<size_t>(l)].experts =
        expert_source(kept(named), experts_prefix(config, l), *config.layer(l).experts, config.hidden_size,
                      options.dtype, options.device);
  }
  return decoder;
}

}  // namespace

Decoder load_decoder(const Checkpoint& checkpoint, const DecoderConfig& config, const LoadOptions& options) {
  return load(checkpoint, nullptr, config, options);
}

Decoder load_decoder(std::shared_ptr<const Checkpoint> checkpoint, const DecoderConfig& config,
                     const LoadOptions& options) {
  return load(*checkpoint, checkpoint, config, options);
}

}  // namespace ropescope
