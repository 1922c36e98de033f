#include "ropescope/architectures/rope_settings.h"

#include <cmath>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/warn_once.h"

namespace ropescope {

namespace {

constexpr const char* kTrainedLength = "original_max_position_embeddings";

std::string rope_type_of(const Json& scaling, const std::string& what) {
  return json_string_or(scaling, json_has(scaling, "rope_type") ? "rope_type" : "type", "", what);
}

/// yarn and longrope may leave the factor to the two lengths.
void add_factor(Json& scaling, int64_t max_position_embeddings, const std::string& what) {
  const std::string type = rope_type_of(scaling, what);
  if (type != "yarn" && type != "longrope" && type != "su") return;
  if (json_has(scaling, "factor") || !json_has(scaling, kTrainedLength)) return;
  const int64_t length = json_integer(scaling, kTrainedLength, what);
  if (length < 1) return;  // (what reads it says so)
  scaling["factor"] = static_cast<double>(max_position_embeddings) / static_cast<double>(length);
}

}  // namespace

RopeConfig read_rope(const Json& config, const RopeDefaults& defaults, int64_t max_position_embeddings,
                     const std::string& what) {
  RopeConfig base;
  base.theta = json_number_or(config, "rope_theta", defaults.theta, what);
  base.partial_rotary_factor =
      json_number_or(config, "partial_rotary_factor", defaults.partial_rotary_factor, what);
  Json scaling;
  if (json_has(config, "rope_parameters")) scaling = config["rope_parameters"];
  if (json_has(config, "rope_scaling") && !config["rope_scaling"].empty()) scaling = config["rope_scaling"];
  if (scaling.is_object()) {
    // As transformers has it: the top-level length wins.
    if (json_has(config, kTrainedLength)) scaling[kTrainedLength] = config[kTrainedLength];
    add_factor(scaling, max_position_embeddings, what);
  }
  RopeConfig rope = parse_rope_scaling(scaling, base, what);
  if (rope.type == RopeType::kDynamic && rope.original_max_position_embeddings) {
    warn_once(
        fmt::format("{}: the rope type \"dynamic\" goes by max_position_embeddings ({}); "
                    "original_max_position_embeddings is ignored",
                    what, max_position_embeddings));
    rope.original_max_position_embeddings.reset();
  }
  if (!std::isfinite(rope.theta) || rope.theta <= 0) {
    throw InputError("{}: \"rope_theta\": expected a finite number above 0, found {}", what, rope.theta);
  }
  if (!(rope.partial_rotary_factor > 0 && rope.partial_rotary_factor <= 1)) {
    throw InputError("{}: \"partial_rotary_factor\": expected a number in (0, 1], found {}", what,
                     rope.partial_rotary_factor);
  }
  return rope;
}

Json rope_parameters_of(const Json& config, const char* kind, const std::string& what) {
  const Json* settings = json_find(config, "rope_parameters");
  if (settings == nullptr || settings->empty()) return Json::object();
  if (!settings->is_object() || json_has(*settings, "rope_type") || json_has(*settings, "type") ||
      json_has(*settings, "rope_theta")) {
    throw InputError(
        "{}: \"rope_parameters\": expected one object a kind of layers (\"full_attention\", \"sliding_attention\"), "
        "found settings for all of them",
        what);
  }
  const Json* found = json_find(*settings, kind);
  if (found == nullptr) return Json::object();
  if (!found->is_object())
    throw InputError("{}: \"rope_parameters\": \"{}\": expected an object", what, kind);
  return *found;
}

RopeConfig read_rope_of_kind(Json settings, const RopeDefaults& defaults, int64_t max_position_embeddings,
                             const std::string& what) {
  if (json_has(settings, "truncate") && settings["truncate"] == false) {
    warn_once(fmt::format(
        "{}: \"truncate\" beside settings for one kind of layers is ignored, as in transformers 5: "
        "yarn's ramp begins and ends at whole channels",
        what));
  }
  settings.erase("truncate");
  Json config = Json::object();
  config["rope_parameters"] = std::move(settings);
  return read_rope(config, defaults, max_position_embeddings, what);
}

}  // namespace ropescope
