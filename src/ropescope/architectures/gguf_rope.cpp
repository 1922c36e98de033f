// Rotary settings of GGUF files.
#include <algorithm>
#include <cmath>

#include "ropescope/architectures/gguf_config.h"
#include "ropescope/architectures/gguf_keys.h"
#include "ropescope/architectures/shortest_decimal.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

double positive(double value, const std::string& key, const std::string& what) {
  if (value > 0) return value;
  throw InputError("{}: {}: expected a number above 0, found {}", what, key, value);
}

double positive_key(const GgufKeys& keys, const char* key, double fallback, const std::string& what) {
  return positive(keys.number_or(key, fallback), keys.name(key), what);
}

double plain_factor(double k) { return k > 1 ? 0.1 * std::log(k) + 1 : 1; }

/// llama.cpp multiplies cos and sin by attn_factor * (0.1 ln k + 1).
void read_yarn(RopeConfig& rope, const GgufKeys& keys, const GgufYarn& yarn, const std::string& what) {
  constexpr const char* kLog = "rope.scaling.yarn_log_multiplier";
  constexpr const char* kWhole = "rope.scaling.yarn_attn_factor";
  const double log = shortest_decimal(keys.number_or(kLog, 0));
  if (log != 0 && yarn.all_dim_of_log == 0)
    throw InputError("{}: {} is not supported", what, keys.name(kLog));
  if (keys.number_or("rope.scaling.alpha", 0) != 0) {
    throw InputError("{}: {} is not supported", what, keys.name("rope.scaling.alpha"));
  }
  if (const double ramp = keys.number_or("rope.scaling.yarn_ext_factor", 1); ramp != 1 && ramp != -1) {
    throw InputError("{}: {}: expected 1, found {}", what, keys.name("rope.scaling.yarn_ext_factor"), ramp);
  }
  double attention = keys.number_or("rope.scaling.attn_factor", 1);
  if (!yarn.attn_factor_is_whole) attention *= keys.number_or(kWhole, 1);
  if (yarn.attn_factor_is_whole && keys.has(kWhole)) {
    const double whole = attention * shortest_decimal(positive_key(keys, kWhole, 1, what));
    // Where it is what k gives anyway, float32 took digits from it.
    const double plain = plain_factor(rope.factor);
    rope.attention_factor = std::abs(whole / plain - 1) < 1e-6 ? plain : whole;
  } else if (attention != 1) {
    positive(attention, keys.name("rope.scaling.attn_factor"), what);
    rope.attention_factor = attention * plain_factor(rope.factor);
  }
  if (log != 0) {
    // The file has one number for the two; published models have equal ones.
    rope.mscale_all_dim = positive(log, keys.name(kLog), what) * yarn.all_dim_of_log;
    rope.mscale = rope.mscale_all_dim;
  }
  rope.beta_fast = positive_key(keys, "rope.scaling.yarn_beta_fast", rope.beta_fast, what);
  rope.beta_slow = positive_key(keys, "rope.scaling.yarn_beta_slow", rope.beta_slow, what);
}

}  // namespace

void read_gguf_scaling(RopeConfig& rope, const GgufKeys& keys, const GgufYarn& yarn,
                       const std::string& what) {
  const double old_linear = keys.number_or("rope.scale_linear", 1);
  const double factor = keys.number_or("rope.scaling.factor", old_linear);
  const std::string type =
      keys.string_or("rope.scaling.type", factor != 1 && factor != 0 ? "linear" : "none");
  if (type == "none" || factor == 0) return;
  if (type != "linear" && type != "yarn") {
    throw InputError("{}: {}: expected none, linear or yarn, found {}", what, keys.name("rope.scaling.type"),
                     type);
  }
  rope.type = type == "linear" ? RopeType::kLinear : RopeType::kYarn;
  rope.factor = positive(factor, keys.name("rope.scaling.factor"), what);
  if (rope.type == RopeType::kYarn && keys.has("rope.scaling.original_context_length")) {
    const int64_t length = keys.integer("rope.scaling.original_context_length");
    if (length > 0) rope.original_max_position_embeddings = length;
  }
  if (rope.type == RopeType::kYarn) read_yarn(rope, keys, yarn, what);
}

void read_gguf_factors(RopeConfig& rope, int64_t head_dim, const GgufFile& file) {
  const GgufTensor* tensor = file.contents.find("rope_freqs.weight");
  if (tensor == nullptr) return;
  const std::vector<float> factors = file.numbers(*tensor, head_dim / 2);
  if (rope.type != RopeType::kDefault) {
    throw InputError("{}: frequency factors together with {} scaling are not supported", file.what,
                     rope_type_name(rope.type));
  }
  rope = rope_config_from_factors(factors, rope, file.what);
}

RopeConfig gguf_rope(const GgufFile& file, int64_t head_dim, const GgufYarn& yarn) {
  const GgufKeys& keys = file.keys;
  RopeConfig rope;
  rope.theta = shortest_decimal(positive_key(keys, "rope.freq_base", rope.theta, file.what));
  const int64_t rotated = keys.integer_or("rope.dimension_count", head_dim);
  if (rotated < 1 || rotated > head_dim) {
    throw InputError("{}: {}: expected a number from 1 to the head size {}, found {}", file.what,
                     keys.name("rope.dimension_count"), head_dim, rotated);
  }
  rope.partial_rotary_factor = static_cast<double>(rotated) / static_cast<double>(head_dim);
  read_gguf_scaling(rope, keys, yarn, file.what);
  read_gguf_factors(rope, rotated, file);
  return rope;
}

RopeConfig gguf_whole_rope(const GgufFile& file, int64_t head_dim, const GgufYarn& yarn) {
  const int64_t rotated = file.keys.integer_or("rope.dimension_count", head_dim);
  if (rotated != head_dim) {
    throw InputError("{}: {}: expected the head size {}, found {}", file.what,
                     file.keys.name("rope.dimension_count"), head_dim, rotated);
  }
  return gguf_rope(file, head_dim, yarn);
}

}  // namespace ropescope
