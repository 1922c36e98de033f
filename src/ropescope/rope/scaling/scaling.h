// The ways to make the frequencies of a longer context: one file a type in this folder, and one line in registry.cpp.
// d rotary dimension, h = d/2 channels, f_i = theta^(-2i/d), M trained length, n largest position id + 1 of a run.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/rope/frequencies.h"

namespace ropescope {

/// Frequencies by channel, and what multiplies cos and sin of all of them.
struct ScaledFrequencies {
  std::vector<double> values;
  double attention_scale = 1;
};

/// What a type makes its frequencies from; the arguments of make_frequencies.
struct ScalingInput {
  const RopeConfig& config;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double sequence_length = 0;

  /// d. Throws InputError unless it is even and at least 2.
  int64_t rotary_dim() const;
  /// f_i of all h channels under another base.
  std::vector<double> plain(double base) const;
  std::vector<double> plain() const { return plain(config.theta); }
  /// theta k^(d/(d-2)), which stretches the slowest channel by k and leaves the fastest alone. Throws InputError for d = 2.
  double widened_base(double stretch) const;
  /// M. Throws InputError where neither the settings nor the model say it.
  double trained_length() const;
  /// Frequencies of one of config.parts, with theta and partial_rotary_factor of the whole.
  ScaledFrequencies part(const RopeConfig& one) const;
};

/// What reads nested settings needs of the reader.
struct ScalingReader {
  std::string what;  ///< file or flag, in errors
  /// Settings inside settings, at `key`.
  std::function<RopeConfig(const Json& part, const std::string& key)> part;
};
using PartWriter = std::function<Json(const RopeConfig& part)>;

struct ContextScaling {
  RopeType type;
  std::string name;
  /// Settings of its JSON beside rope_type, rope_theta and partial_rotary_factor.
  std::vector<std::string_view> keys;
  ScaledFrequencies (*make)(const ScalingInput& input);
  /// Reads what is not `factor` or original_max_position_embeddings; null: there is nothing else. Throws InputError.
  void (*read)(const Json& json, const ScalingReader& reader, RopeConfig& rope) = nullptr;
  /// Adds to the JSON what stands in no single number; null: nothing does.
  void (*write)(const RopeConfig& rope, const PartWriter& part, Json& json) = nullptr;
  /// Whether the JSON must say `factor`, where that is one of the keys.
  bool needs_factor = true;
  /// Whether every other key that holds an object names a row of coordinates.
  bool keyed_by_row = false;
  /// Whether the frequencies change with n; null: never.
  bool (*by_length)(const RopeConfig& rope) = nullptr;
  /// Other names of the type, as files have them.
  std::vector<std::string> aliases = {};

  bool reads(std::string_view key) const;
};

const std::vector<ContextScaling>& context_scalings();
const ContextScaling& scaling_of(RopeType type);

/// check of the settings all types have, then the type's own frequencies.
ScaledFrequencies scaled_frequencies(const ScalingInput& input);

/// A number inside (0, inf), or nothing if the key is absent or null. Throws InputError.
std::optional<double> positive_setting(const Json& object, const char* key, const std::string& what);
/// As transformers reads some of yarn's settings: 0 counts as not given.
std::optional<double> setting_unless_zero(const Json& object, const char* key, const std::string& what);
/// An integer of at least `lowest`, or nothing.
std::optional<int64_t> count_setting(const Json& object, const char* key, int64_t lowest,
                                     const std::string& what);

}  // namespace ropescope
