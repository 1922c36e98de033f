#include "inspect/inspect_layers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/core/errors.h"
#include "ropescope/probe/layer_facts.h"
#include "ropescope/probe/samples.h"

namespace ropescope::app::inspect {

namespace {

const char* mixer_name(Mixer mixer) {
  switch (mixer) {
    case Mixer::kSoftmax:
      return "softmax";
    case Mixer::kLatent:
      return "latent";
    case Mixer::kDeltaRule:
      break;
  }
  return "delta_rule";
}

/// null: none.
Json qk_norm_json(QkNorm norm) {
  switch (norm) {
    case QkNorm::kNone:
      return nullptr;
    case QkNorm::kPerHead:
      return "per_head";
    case QkNorm::kAllHeads:
      return "all_heads";
    case QkNorm::kAfterRotation:
      break;
  }
  return "after_rotation";
}

Json positive_or_null(int64_t value) { return value > 0 ? Json(value) : Json(nullptr); }

/// Everything that a layer's queries and keys go through; its number is no part of it.
Json layer_json(const DecoderConfig& config, int64_t index, const LayerFacts& facts) {
  const LayerShape& layer = config.layer(index);
  Json json = {{"kind", layer.kind}, {"mixer", mixer_name(layer.mixer)}, {"rotates", facts.rotates}};
  for (const char* key : {"rope_theta", "rope_type", "factor", "attention_factor", "rotary_dims", "pairs",
                          "heads", "kv_heads", "head_dim", "first_rotary", "window", "chunk", "score_scale",
                          "score_softcap", "qk_norm", "sinks", "keys_of_layer"}) {
    json[key] = nullptr;
  }
  if (!layer.has_qk()) return json;
  if (facts.rotates) {
    json["rope_theta"] = facts.rope.theta;
    json["rope_type"] = rope_type_name(facts.rope.type);
    json["factor"] = facts.rope.factor;
    try {
      const Frequencies frequencies = layer_frequencies(facts, config.max_position_embeddings);
      json["attention_factor"] = frequencies.attention_scale;
      json["rotary_dims"] = 2 * frequencies.inv_freq.size(0);
    } catch (const Error&) {
      // Settings that no run can have are described all the same.
    }
    json["first_rotary"] = facts.first_rotary;
    json["pairs"] = facts.pairing == PairLayout::kAdjacent ? "adjacent" : "half";
  }
  json["heads"] = layer.heads;
  json["kv_heads"] = layer.latent ? layer.heads : layer.kv_heads;
  json["head_dim"] = facts.head_dim;
  json["window"] = positive_or_null(layer.window);
  json["chunk"] = positive_or_null(layer.chunk);
  json["score_scale"] = layer.score_scale;
  if (layer.score_softcap > 0) json["score_softcap"] = layer.score_softcap;
  const bool never_applied = layer.qk_norm == QkNorm::kAfterRotation && !facts.rotates;
  json["qk_norm"] = qk_norm_json(never_applied ? QkNorm::kNone : layer.qk_norm);
  json["sinks"] = layer.sinks;
  if (layer.keys_of >= 0) json["keys_of_layer"] = layer.keys_of;
  return json;
}

struct LayerGroup {
  std::vector<int64_t> layers;
  LayerFacts facts;
  Json json;
};

std::vector<LayerGroup> groups_of(const DecoderConfig& config) {
  const std::vector<LayerFacts> facts = layer_facts(config);
  std::vector<LayerGroup> groups;
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) {
    Json json = layer_json(config, l, facts[static_cast<size_t>(l)]);
    LayerGroup* known = nullptr;
    for (LayerGroup& group : groups) {
      if (group.json == json) known = &group;
    }
    if (known != nullptr) {
      known->layers.push_back(l);
    } else {
      groups.push_back({{l}, facts[static_cast<size_t>(l)], std::move(json)});
    }
  }
  return groups;
}

std::string layer_text(const DecoderConfig& config, const LayerGroup& group) {
  const Json& json = group.json;
  std::string text = json["kind"].get<std::string>();
  if (json["mixer"] == "delta_rule") return text + ", a recurrent state: no queries and keys, no positions";
  const auto add = [&](const std::string& part) { text += ", " + part; };
  const auto number = [&](const char* key) { return json[key].get<double>(); };
  if (json["mixer"] == "latent") add("keys and values from a latent");
  if (group.facts.head_dim != config.head_dim || json["kv_heads"] != config.num_key_value_heads) {
    add(fmt::format("{} query and {} key/value heads of {}", json["heads"].get<int64_t>(),
                    json["kv_heads"].get<int64_t>(), group.facts.head_dim));
  }
  if (group.facts.rotates) {
    RopeConfig rope = group.facts.rope;
    rope.partial_rotary_factor = 1;  // the channels are counted behind it
    add(rope_text(rope));
    if (json["rotary_dims"].is_null()) {
      add("of which no frequencies can be made");
    } else {
      if (number("attention_factor") != 1 && !group.facts.rope.attention_factor) {
        add(fmt::format("cos and sin times {:.6g}", number("attention_factor")));
      }
      const at::Tensor inv_freq = layer_frequencies(group.facts, config.max_position_embeddings).inv_freq;
      const int64_t turning = 2 * inv_freq.ne(0).sum().item<int64_t>();
      add(fmt::format("{} of {} channels turn", turning, group.facts.head_dim));
      if (group.facts.first_rotary > 0) text += fmt::format(" from {} on", group.facts.first_rotary);
    }
  } else {
    add("no rotation");
  }
  if (json["window"].is_number()) add(fmt::format("window {}", json["window"].get<int64_t>()));
  if (json["chunk"].is_number()) add(fmt::format("chunks of {}", json["chunk"].get<int64_t>()));
  if (json["keys_of_layer"].is_number())
    add(fmt::format("keys of layer {}", json["keys_of_layer"].get<int64_t>()));
  if (json["qk_norm"] == "per_head") add("q and k normalised per head");
  if (json["qk_norm"] == "all_heads") add("q and k normalised over all heads");
  if (json["qk_norm"] == "after_rotation") add("q and k normalised after the rotation");
  if (json["sinks"] == true) add("sinks");
  add(fmt::format("scores q·k x {:.6g}", number("score_scale")));
  if (json["score_softcap"].is_number()) add(fmt::format("capped at {:g}", number("score_softcap")));
  return text;
}

Json architecture_json(const Architecture& family) {
  Json gguf = Json::array();
  for (const GgufNames& names : family.gguf) gguf.push_back(names.architecture);
  return {{"name", family.name},
          {"summary", family.summary},
          {"source", family.source},
          {"model_types", family.model_types},
          {"classes", family.classes},
          {"wrappers", family.wrappers},
          {"gguf", gguf},
          {"trains", family.trains}};
}

}  // namespace

Json layers_json(const DecoderConfig& config) {
  Json list = Json::array();
  for (const LayerGroup& group : groups_of(config)) {
    Json json = {{"layers", ranges_text(group.layers)}};
    json.update(group.json);
    list.push_back(std::move(json));
  }
  return list;
}

std::vector<std::pair<std::string, std::string>> layer_rows(const DecoderConfig& config) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const LayerGroup& group : groups_of(config)) {
    rows.emplace_back(rows.empty() ? "layers" : "",
                      ranges_text(group.layers) + ": " + layer_text(config, group));
  }
  return rows;
}

namespace {

/// "linear by 4"; types without a factor name what they are made of.
std::string scaling_text(const RopeConfig& rope) {
  std::string text = rope_type_name(rope.type);
  if (rope.type == RopeType::kCope) {
    text += fmt::format(", {} slowest channels {}", rope.channels, rope.hard ? "still" : "damped");
  } else if (rope.type == RopeType::kDynamic && rope.alpha) {
    text += fmt::format(" with alpha {:g}", *rope.alpha);
  } else if (rope.type == RopeType::kFope) {
    text += rope.kept ? fmt::format(", {} fastest channels turn", *rope.kept) : "";
  } else if (rope.parts.empty()) {
    text += fmt::format(" by {:g}", rope.factor);
  }
  for (size_t part = 0; part < rope.parts.size(); ++part) {
    text += (part == 0 ? " (" : "; ") + (rope.names.empty() ? std::string() : rope.names[part] + " ") +
            scaling_text(rope.parts[part]) + (part + 1 == rope.parts.size() ? ")" : "");
  }
  return text;
}

}  // namespace

std::string rope_text(const RopeConfig& rope) {
  std::string text = fmt::format("theta {:g}", rope.theta);
  if (rope.type == RopeType::kDefault) {
    text += ", no scaling";
  } else {
    text += ", " + scaling_text(rope);
  }
  if (rope.original_max_position_embeddings) {
    text += fmt::format(" of {} trained positions", *rope.original_max_position_embeddings);
  }
  if (rope.type == RopeType::kLlama3) {
    text += fmt::format(" (turns {:g} to {:g})", rope.low_freq_factor, rope.high_freq_factor);
  }
  if (rope.type == RopeType::kYarn) {
    text += fmt::format(" (beta {:g} to {:g}, {})", rope.beta_fast, rope.beta_slow,
                        rope.truncate ? "truncated to channels" : "not truncated");
    if (rope.mscale) text += fmt::format(", mscale {:g}", *rope.mscale);
    if (rope.mscale_all_dim) text += fmt::format(", mscale_all_dim {:g}", *rope.mscale_all_dim);
  }
  if (rope.attention_factor) text += fmt::format(", cos and sin times {:g}", *rope.attention_factor);
  if (rope.partial_rotary_factor != 1) {
    text += fmt::format(", {:g} of the channels rotate", rope.partial_rotary_factor);
  }
  return text;
}

void list_architectures(bool json) {
  if (json) {
    Json families = Json::array();
    for (const Architecture* family : architectures()) families.push_back(architecture_json(*family));
    fmt::print("{}\n", Json({{"architectures", families}}).dump());
    return;
  }
  for (const Architecture* family : architectures()) {
    fmt::print("{}\n    {}\n    source: {}\n    model_type: {}\n", family->name, family->summary,
               family->source, fmt::join(family->model_types, ", "));
    std::vector<std::string> gguf;
    for (const GgufNames& names : family->gguf) gguf.push_back(names.architecture);
    fmt::print("    GGUF: {}; {}\n\n", gguf.empty() ? "none" : fmt::format("{}", fmt::join(gguf, ", ")),
               family->trains ? "train and export take it" : "not trained here");
  }
}

}  // namespace ropescope::app::inspect
