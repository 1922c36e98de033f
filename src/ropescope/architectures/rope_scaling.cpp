// `rope_scaling` and `rope_parameters` objects: the one reader and the one writer. What a type reads beside factor and
// trained length is in its file of rope/scaling.
#include <algorithm>
#include <string_view>
#include <vector>

#include <fmt/ranges.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/rope/scaling/scaling.h"
#include "ropescope/weights/warn_once.h"

namespace ropescope {

namespace {

/// Settings inside settings: cope of the mean of two scalings for each row, and no more.
constexpr int kDeepestSettings = 4;
/// Keys of every type.
constexpr std::string_view kCommonKeys[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};

bool is_common(std::string_view key) {
  return std::find(std::begin(kCommonKeys), std::end(kCommonKeys), key) != std::end(kCommonKeys);
}

void warn_of_unused_keys(const Json& scaling, const ContextScaling& type, const std::string& what) {
  constexpr size_t kMostShown = 8, kLongest = 40;
  std::vector<std::string> unused;
  for (const auto& [key, value] : scaling.items()) {
    const bool plain = type.type == RopeType::kDefault && key == "factor" && value == 1;
    const bool row = type.keyed_by_row && value.is_object();
    if (value.is_null() || plain || row || is_common(key) || type.reads(key)) continue;
    if (unused.size() < kMostShown) unused.push_back(key.substr(0, kLongest));
  }
  if (unused.empty()) return;
  warn_once(fmt::format("{}: the rope type \"{}\" does not use {}; ignored", what, type.name,
                        fmt::join(unused, ", ")));
}

RopeType type_of(const Json& scaling, const std::string& what) {
  const char* key = json_has(scaling, "rope_type") ? "rope_type" : "type";
  if (!json_has(scaling, key)) {
    if (json_has(scaling, "factor")) {
      throw InputError("{}: \"factor\" is given but \"rope_type\" is missing", what);
    }
    return RopeType::kDefault;
  }
  try {
    return parse_rope_type(json_string(scaling, key, what));
  } catch (const UsageError& error) {
    throw UnsupportedModel("{}: \"{}\": {}", what, key, error.what());
  }
}

/// transformers 5 nests one object a layer type in models with several kinds of layers.
void refuse_layer_types(const Json& scaling, const std::string& what) {
  const bool typed = json_has(scaling, "rope_type") || json_has(scaling, "type");
  const ContextScaling& type = scaling_of(typed ? type_of(scaling, what) : RopeType::kDefault);
  for (const auto& [key, value] : scaling.items()) {
    if (value.is_object() && !type.keyed_by_row && !type.reads(key)) {
      throw UnsupportedModel(
          "{}: \"{}\": expected one set of rotary settings for all layers, found one a layer type", what,
          key);
    }
  }
  if (json_has(scaling, "mrope_section")) {
    throw UnsupportedModel(
        "{}: \"mrope_section\": this family's positions have one row of ids; rotary settings of several belong to "
        "qwen2_vl_text, qwen2_5_vl_text, qwen3_vl_text, qwen3_5_text and glm4v_text",
        what);
  }
}

RopeConfig parse_settings(const Json& scaling, const RopeConfig& base, const std::string& what, int depth) {
  RopeConfig rope;
  rope.theta = base.theta;
  rope.partial_rotary_factor = base.partial_rotary_factor;
  if (scaling.is_null()) return rope;
  if (!scaling.is_object())
    throw InputError("{}: expected an object like {{\"rope_type\":\"linear\"}}", what);
  if (depth > kDeepestSettings) {
    throw InputError("{}: expected rotary settings at most {} deep inside each other, found more", what,
                     kDeepestSettings);
  }
  refuse_layer_types(scaling, what);

  const ContextScaling& type = scaling_of(type_of(scaling, what));
  rope.type = type.type;
  rope.theta = positive_setting(scaling, "rope_theta", what).value_or(rope.theta);
  rope.partial_rotary_factor =
      positive_setting(scaling, "partial_rotary_factor", what).value_or(rope.partial_rotary_factor);
  if (rope.partial_rotary_factor > 1) {
    throw InputError("{}: \"partial_rotary_factor\": expected at most 1, found {}", what,
                     rope.partial_rotary_factor);
  }
  warn_of_unused_keys(scaling, type, what);
  if (type.reads("factor")) {
    if (type.needs_factor && !json_has(scaling, "factor")) {
      throw InputError("{}: the rope type \"{}\" needs \"factor\"", what, type.name);
    }
    rope.factor = positive_setting(scaling, "factor", what).value_or(rope.factor);
  }
  if (type.reads("original_max_position_embeddings")) {
    rope.original_max_position_embeddings =
        count_setting(scaling, "original_max_position_embeddings", 1, what);
  }
  const auto part = [&](const Json& json, const std::string& key) {
    const std::string where = what + ": \"" + key.substr(0, 40) + "\"";
    for (const char* shared : {"rope_theta", "partial_rotary_factor"}) {
      if (!json_has(json, shared)) continue;
      throw InputError("{}: \"{}\": expected beside the outermost rope_type, found inside", where, shared);
    }
    return parse_settings(json, RopeConfig{}, where, depth + 1);
  };
  if (type.read != nullptr) type.read(scaling, {what, part}, rope);
  return rope;
}

/// Without what parts take from the whole.
Json settings_json(const RopeConfig& rope) {
  Json all = {{"factor", rope.factor},
              {"beta_fast", rope.beta_fast},
              {"beta_slow", rope.beta_slow},
              {"truncate", rope.truncate},
              {"low_freq_factor", rope.low_freq_factor},
              {"high_freq_factor", rope.high_freq_factor}};
  const auto put = [&](const char* key, const auto& value) {
    if (value) all[key] = *value;
  };
  put("original_max_position_embeddings", rope.original_max_position_embeddings);
  put("attention_factor", rope.attention_factor);
  put("mscale", rope.mscale);
  put("mscale_all_dim", rope.mscale_all_dim);
  const ContextScaling& type = scaling_of(rope.type);
  Json json = {{"rope_type", type.name}};
  for (const std::string_view key : type.keys) {
    const auto found = all.find(std::string(key));
    if (found != all.end()) json[std::string(key)] = *found;
  }
  if (type.write != nullptr) type.write(rope, settings_json, json);
  return json;
}

}  // namespace

RopeConfig parse_rope_scaling(const Json& scaling, RopeConfig base, const std::string& what) {
  return parse_settings(scaling, base, what, 1);
}

Json to_json(const RopeConfig& rope) {
  Json json = settings_json(rope);
  json["rope_theta"] = rope.theta;
  json["partial_rotary_factor"] = rope.partial_rotary_factor;
  return json;
}

}  // namespace ropescope
