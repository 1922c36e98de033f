// `rope_scaling` and `rope_parameters` objects.
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/weights/decoder_config.h"

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

RopeType type_of(const Json& scaling, const std::string& what) {
  const char* key = json_has(scaling, "rope_type") ? "rope_type" : "type";
  if (!json_has(scaling, key)) {
    if (json_has(scaling, "factor")) {
      throw InputError("{}: \"factor\" is given but \"rope_type\" is missing", what);
    }
    return RopeType::kDefault;
  }
  const std::string name = json_string(scaling, key, what);
  try {
    return parse_rope_type(name);
  } catch (const UsageError& error) {
    throw UnsupportedModel("{}: \"{}\": {}", what, key, error.what());
  }
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
        "{}: \"mrope_section\": multi-axis rotary settings belong to vision-language models, "
        "which are not read here",
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
  if (json_has(scaling, "original_max_position_embeddings")) {
    const int64_t length = json_integer(scaling, "original_max_position_embeddings", what);
    if (length < 1) {
      throw InputError("{}: \"original_max_position_embeddings\": expected at least 1, found {}", what,
                       length);
    }
    rope.original_max_position_embeddings = length;
  }
  const bool needs_factor = rope.type != RopeType::kDefault && rope.type != RopeType::kProportional;
  if (needs_factor && !json_has(scaling, "factor")) {
    throw InputError("{}: the rope type \"{}\" needs \"factor\"", what, rope_type_name(rope.type));
  }
  if (rope.type == RopeType::kDefault) return rope;  // whatever else is there has no effect
  rope.factor = positive_number_or(scaling, "factor", rope.factor, what);
  rope.attention_factor = positive_number(scaling, "attention_factor", what);
  rope.mscale = number_unless_zero(scaling, "mscale", what);
  rope.mscale_all_dim = number_unless_zero(scaling, "mscale_all_dim", what);
  rope.beta_fast = number_unless_zero(scaling, "beta_fast", what).value_or(rope.beta_fast);
  rope.beta_slow = number_unless_zero(scaling, "beta_slow", what).value_or(rope.beta_slow);
  rope.truncate = json_bool_or(scaling, "truncate", rope.truncate, what);
  rope.low_freq_factor = positive_number_or(scaling, "low_freq_factor", rope.low_freq_factor, what);
  rope.high_freq_factor = positive_number_or(scaling, "high_freq_factor", rope.high_freq_factor, what);
  if (rope.type == RopeType::kLlama3 && rope.high_freq_factor <= rope.low_freq_factor) {
    throw InputError("{}: expected high_freq_factor > low_freq_factor, found {} and {}", what,
                     rope.high_freq_factor, rope.low_freq_factor);
  }
  return rope;
}

}  // namespace ropescope
