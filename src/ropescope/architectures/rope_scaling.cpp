// `rope_scaling` and `rope_parameters` objects: the one reader and the one writer.
#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include <fmt/ranges.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/warn_once.h"

namespace ropescope {

namespace {

/// A number inside (0, inf), or nothing if the key is absent or null.
std::optional<double> positive_number(const Json& object, const char* key, const std::string& what) {
  if (!json_has(object, key)) return std::nullopt;
  const double value = json_number(object, key, what);
  if (!std::isfinite(value) || value <= 0) {
    throw InputError("{}: \"{}\": expected a finite number above 0, found {}", what, key, value);
  }
  return value;
}

double positive_number_or(const Json& object, const char* key, double fallback, const std::string& what) {
  return positive_number(object, key, what).value_or(fallback);
}

/// As transformers reads some of yarn's settings: 0 counts as not given.
std::optional<double> number_unless_zero(const Json& object, const char* key, const std::string& what) {
  if (json_number_or(object, key, 0, what) == 0) return std::nullopt;
  return positive_number(object, key, what);
}

using RopeKeys = std::vector<std::string_view>;

/// The settings of a type beside rope_type, rope_theta and partial_rotary_factor: those that transformers'
/// modeling_rope_utils reads, and the trained length of dynamic NTK where no checkpoint gives one.
const RopeKeys& rope_keys(RopeType type) {
  static const RopeKeys none = {}, factor = {"factor"};
  static const RopeKeys dynamic = {"factor", "original_max_position_embeddings"};
  static const RopeKeys yarn = {"factor",    "original_max_position_embeddings",
                                "beta_fast", "attention_factor",
                                "beta_slow", "mscale",
                                "truncate",  "mscale_all_dim"};
  static const RopeKeys longrope = {"factor", "original_max_position_embeddings", "attention_factor",
                                    "short_factor", "long_factor"};
  static const RopeKeys llama3 = {"factor", "original_max_position_embeddings", "low_freq_factor",
                                  "high_freq_factor"};
  switch (type) {
    case RopeType::kDefault:
      return none;
    case RopeType::kYarn:
      return yarn;
    case RopeType::kLlama3:
      return llama3;
    case RopeType::kDynamic:
      return dynamic;
    case RopeType::kLongrope:
      return longrope;
    case RopeType::kLinear:
    case RopeType::kNtk:
    case RopeType::kProportional:
      break;
  }
  return factor;
}

bool is_one_of(const RopeKeys& keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

void warn_of_unused_keys(const Json& scaling, RopeType type, const std::string& what) {
  constexpr size_t kMostShown = 8, kLongest = 40;
  static const RopeKeys always = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
  std::vector<std::string> unused;
  for (const auto& [key, value] : scaling.items()) {
    const bool plain = type == RopeType::kDefault && key == "factor" && value == 1;
    if (value.is_null() || plain || is_one_of(always, key) || is_one_of(rope_keys(type), key)) continue;
    if (unused.size() < kMostShown) unused.push_back(key.substr(0, kLongest));
  }
  if (unused.empty()) return;
  warn_once(fmt::format("{}: the rope type \"{}\" does not use {}; ignored", what, rope_type_name(type),
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
  const std::string name = json_string(scaling, key, what);
  if (name == "su") return RopeType::kLongrope;  // its first name
  try {
    return parse_rope_type(name);
  } catch (const UsageError& error) {
    throw UnsupportedModel("{}: \"{}\": {}", what, key, error.what());
  }
}

std::optional<int64_t> trained_positions(const Json& scaling, const std::string& what) {
  constexpr const char* kKey = "original_max_position_embeddings";
  if (!json_has(scaling, kKey)) return std::nullopt;
  const int64_t length = json_integer(scaling, kKey, what);
  if (length < 1) throw InputError("{}: \"{}\": expected at least 1, found {}", what, kKey, length);
  return length;
}

/// longrope's divisors, one a channel.
std::vector<double> divisors(const Json& scaling, const char* key, const std::string& what) {
  if (!json_has(scaling, key)) throw InputError("{}: the rope type \"longrope\" needs \"{}\"", what, key);
  const Json& list = scaling[key];
  const bool sound =
      list.is_array() && std::all_of(list.begin(), list.end(), [](const Json& value) {
        return value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() > 0;
      });
  if (!sound) throw InputError("{}: \"{}\": expected a list of numbers above 0", what, key);
  return list.get<std::vector<double>>();
}

void read_longrope(const Json& scaling, RopeConfig& rope, const std::string& what) {
  rope.short_factor = divisors(scaling, "short_factor", what);
  rope.long_factor = divisors(scaling, "long_factor", what);
  rope.attention_factor = positive_number(scaling, "attention_factor", what);
  // A factor of 1 that is given stretches nothing; make_frequencies would take it for one that is not.
  if (json_has(scaling, "factor") && rope.factor == 1 && !rope.attention_factor) rope.attention_factor = 1;
}

/// transformers 5 nests one object a layer type in models with several kinds of layers.
void refuse_layer_types(const Json& scaling, const std::string& what) {
  for (const auto& [key, value] : scaling.items()) {
    if (value.is_object()) {
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

}  // namespace

RopeConfig parse_rope_scaling(const Json& scaling, RopeConfig base, const std::string& what) {
  RopeConfig rope;
  rope.theta = base.theta;
  rope.partial_rotary_factor = base.partial_rotary_factor;
  if (scaling.is_null()) return rope;
  if (!scaling.is_object())
    throw InputError("{}: expected an object like {{\"rope_type\":\"linear\"}}", what);
  refuse_layer_types(scaling, what);

  rope.type = type_of(scaling, what);
  rope.theta = positive_number_or(scaling, "rope_theta", rope.theta, what);
  rope.partial_rotary_factor =
      positive_number_or(scaling, "partial_rotary_factor", rope.partial_rotary_factor, what);
  if (rope.partial_rotary_factor > 1) {
    throw InputError("{}: \"partial_rotary_factor\": expected at most 1, found {}", what,
                     rope.partial_rotary_factor);
  }
  warn_of_unused_keys(scaling, rope.type, what);
  const auto reads = [&](const char* key) { return is_one_of(rope_keys(rope.type), key); };
  const bool may_lack_factor = rope.type == RopeType::kProportional || rope.type == RopeType::kLongrope;
  const bool needs_factor = reads("factor") && !may_lack_factor;
  if (needs_factor && !json_has(scaling, "factor")) {
    throw InputError("{}: the rope type \"{}\" needs \"factor\"", what, rope_type_name(rope.type));
  }
  if (reads("factor")) rope.factor = positive_number_or(scaling, "factor", rope.factor, what);
  if (reads("original_max_position_embeddings")) {
    rope.original_max_position_embeddings = trained_positions(scaling, what);
  }
  if (rope.type == RopeType::kYarn) {
    rope.attention_factor = positive_number(scaling, "attention_factor", what);
    rope.mscale = number_unless_zero(scaling, "mscale", what);
    rope.mscale_all_dim = number_unless_zero(scaling, "mscale_all_dim", what);
    rope.beta_fast = number_unless_zero(scaling, "beta_fast", what).value_or(rope.beta_fast);
    rope.beta_slow = number_unless_zero(scaling, "beta_slow", what).value_or(rope.beta_slow);
    rope.truncate = json_bool_or(scaling, "truncate", rope.truncate, what);
  }
  if (rope.type == RopeType::kLongrope) read_longrope(scaling, rope, what);
  if (rope.type != RopeType::kLlama3) return rope;
  rope.low_freq_factor = positive_number_or(scaling, "low_freq_factor", rope.low_freq_factor, what);
  rope.high_freq_factor = positive_number_or(scaling, "high_freq_factor", rope.high_freq_factor, what);
  // Equal ones leave no band between what is kept and what is divided (Llama 4 Scout).
  if (rope.high_freq_factor < rope.low_freq_factor) {
    throw InputError("{}: expected high_freq_factor >= low_freq_factor, found {} and {}", what,
                     rope.high_freq_factor, rope.low_freq_factor);
  }
  return rope;
}

Json to_json(const RopeConfig& rope) {
  Json all = {{"factor", rope.factor},
              {"beta_fast", rope.beta_fast},
              {"beta_slow", rope.beta_slow},
              {"truncate", rope.truncate},
              {"low_freq_factor", rope.low_freq_factor},
              {"high_freq_factor", rope.high_freq_factor},
              {"short_factor", rope.short_factor},
              {"long_factor", rope.long_factor}};
  const auto put = [&](const char* key, const auto& value) {
    if (value) all[key] = *value;
  };
  put("original_max_position_embeddings", rope.original_max_position_embeddings);
  put("attention_factor", rope.attention_factor);
  put("mscale", rope.mscale);
  put("mscale_all_dim", rope.mscale_all_dim);
  Json json = {{"rope_type", rope_type_name(rope.type)},
               {"rope_theta", rope.theta},
               {"partial_rotary_factor", rope.partial_rotary_factor}};
  // (a longrope factor of 1 means that none was given)
  if (rope.type == RopeType::kLongrope && rope.factor == 1) all.erase("factor");
  for (const std::string_view key : rope_keys(rope.type)) {
    const auto found = all.find(std::string(key));
    if (found != all.end()) json[std::string(key)] = *found;
  }
  return json;
}

}  // namespace ropescope
