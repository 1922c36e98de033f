// LongRoPE, arXiv 2402.13753: f_i / long_factor[i] where n > M, else f_i / short_factor[i]; cos and sin of both times
// sqrt(1 + ln s / ln M), s = k, or max_position_embeddings / M where k is 1.
#include <algorithm>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

namespace {

/// The same for short and long runs.
double longrope_attention_factor(const ScalingInput& input) {
  const RopeConfig& config = input.config;
  if (config.attention_factor) return *config.attention_factor;
  const double length = input.trained_length();
  const double stretch =
      config.factor == 1 ? static_cast<double>(input.max_position_embeddings) / length : config.factor;
  if (stretch <= 1) return 1;
  if (length <= 1) {
    throw InputError("rope scaling \"longrope\": expected original_max_position_embeddings > 1, found {}",
                     length);
  }
  return std::sqrt(1 + std::log(stretch) / std::log(length));
}

ScaledFrequencies longrope_frequencies(const ScalingInput& input) {
  const RopeConfig& config = input.config;
  input.rotary_dim();
  const bool longer = input.sequence_length > input.trained_length();
  const std::vector<double>& divisors = longer ? config.long_factor : config.short_factor;
  ScaledFrequencies result{input.plain()};
  if (divisors.size() != result.values.size()) {
    throw InputError("rope scaling \"longrope\": {}: expected {} numbers, found {}",
                     longer ? "long_factor" : "short_factor", result.values.size(), divisors.size());
  }
  for (size_t i = 0; i < divisors.size(); ++i) result.values[i] /= divisors[i];
  result.attention_scale = longrope_attention_factor(input);
  return result;
}

/// Divisors, one a channel.
std::vector<double> read_divisors(const Json& json, const char* key, const std::string& what) {
  if (!json_has(json, key)) throw InputError("{}: the rope type \"longrope\" needs \"{}\"", what, key);
  const Json& list = json[key];
  const bool sound =
      list.is_array() && std::all_of(list.begin(), list.end(), [](const Json& value) {
        return value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() > 0;
      });
  if (!sound) throw InputError("{}: \"{}\": expected a list of numbers above 0", what, key);
  return list.get<std::vector<double>>();
}

void read_longrope(const Json& json, const ScalingReader& reader, RopeConfig& rope) {
  const std::string& what = reader.what;
  rope.short_factor = read_divisors(json, "short_factor", what);
  rope.long_factor = read_divisors(json, "long_factor", what);
  rope.attention_factor = positive_setting(json, "attention_factor", what);
  bool given = json_has(json, "factor");
  // The longer length in place of the factor.
  if (const auto longest = count_setting(json, "max_position_embeddings", 1, what); longest && !given) {
    if (!rope.original_max_position_embeddings) {
      throw InputError("{}: \"max_position_embeddings\" needs \"original_max_position_embeddings\" beside it",
                       what);
    }
    rope.factor = static_cast<double>(*longest) / static_cast<double>(*rope.original_max_position_embeddings);
    given = true;
  }
  // A factor of 1 that is given stretches nothing; the frequencies would take it for one that is not.
  if (given && rope.factor == 1 && !rope.attention_factor) rope.attention_factor = 1;
}

void write_longrope(const RopeConfig& rope, const PartWriter&, Json& json) {
  json["short_factor"] = rope.short_factor;
  json["long_factor"] = rope.long_factor;
  if (rope.factor == 1) json.erase("factor");  // none was given
}

}  // namespace

extern const ContextScaling kLongropeScaling = {
    RopeType::kLongrope,
    "longrope",
    {"factor", "original_max_position_embeddings", "attention_factor", "short_factor", "long_factor",
     "max_position_embeddings"},
    longrope_frequencies,
    read_longrope,
    write_longrope,
    /*needs_factor=*/false,
    /*keyed_by_row=*/false,
    [](const RopeConfig&) { return true; },
    {"su"}};

}  // namespace ropescope
