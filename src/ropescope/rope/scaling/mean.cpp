// The mean of the frequencies that several scalings give, channel by channel (`mrope++` of VideoRoPE++, arXiv 2502.05173).
#include "ropescope/core/errors.h"
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

namespace {

ScaledFrequencies mean_frequencies(const ScalingInput& input) {
  const std::vector<RopeConfig>& parts = input.config.parts;
  if (parts.empty()) throw InputError("rope scaling \"mean\": expected settings to average, found none");
  ScaledFrequencies result = input.part(parts.front());
  for (size_t k = 1; k < parts.size(); ++k) {
    const ScaledFrequencies other = input.part(parts[k]);
    if (other.attention_scale != result.attention_scale) {
      throw InputError(
          "rope scaling \"mean\": expected parts with one attention factor, found {} and {}. Try: "
          "\"attention_factor\" in each of them",
          result.attention_scale, other.attention_scale);
    }
    if (other.values.size() != result.values.size()) {
      throw InputError("rope scaling \"mean\": expected parts with as many channels, found {} and {}",
                       result.values.size(), other.values.size());
    }
    for (size_t i = 0; i < other.values.size(); ++i) result.values[i] += other.values[i];
  }
  for (double& f : result.values) f /= static_cast<double>(parts.size());
  return result;
}

void read_mean(const Json& json, const ScalingReader& reader, RopeConfig& rope) {
  const Json* of = json_find(json, "of");
  if (of == nullptr || !of->is_array() || of->empty()) {
    throw InputError("{}: the rope type \"mean\" needs \"of\", a list of rotary settings", reader.what);
  }
  for (size_t k = 0; k < of->size(); ++k) {
    rope.parts.push_back(reader.part((*of)[k], "of[" + std::to_string(k) + "]"));
  }
}

void write_mean(const RopeConfig& rope, const PartWriter& part, Json& json) {
  json["of"] = Json::array();
  for (const RopeConfig& one : rope.parts) json["of"].push_back(part(one));
}

}  // namespace

extern const ContextScaling kMeanScaling = {RopeType::kMean,  "mean",    {"of"},
                                            mean_frequencies, read_mean, write_mean};

}  // namespace ropescope
