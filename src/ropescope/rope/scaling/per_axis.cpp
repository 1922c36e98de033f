// Settings of its own for each row of the coordinates, by the row's name (YaRN-V of VideoRoPE++, arXiv 2502.05173); rows
// that are not named have none. Which channel follows which row is the scheme's business: frequencies_by_row.h.
#include "ropescope/core/errors.h"
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

namespace {

ScaledFrequencies per_axis_frequencies(const ScalingInput& input) {
  if (input.config.names == std::vector<std::string>{"id"}) return input.part(input.config.parts.front());
  throw UsageError(
      "rope scaling \"per-axis\": expected a scheme whose channels follow rows of the coordinates by name, found one "
      "row of ids that all channels follow. Try: --scheme mrope");
}

void read_per_axis(const Json& json, const ScalingReader& reader, RopeConfig& rope) {
  for (const auto& [key, value] : json.items()) {
    if (!value.is_object()) continue;
    rope.names.push_back(key);
    rope.parts.push_back(reader.part(value, key));
  }
  if (rope.names.empty()) {
    throw InputError(
        "{}: the rope type \"per-axis\" needs settings for a row of the coordinates, like \"t\":{{...}}",
        reader.what);
  }
}

void write_per_axis(const RopeConfig& rope, const PartWriter& part, Json& json) {
  for (size_t row = 0; row < rope.names.size(); ++row) json[rope.names[row]] = part(rope.parts[row]);
}

}  // namespace

extern const ContextScaling kPerAxisScaling = {RopeType::kPerAxis,     "per-axis",    {},
                                               per_axis_frequencies,   read_per_axis, write_per_axis,
                                               /*needs_factor=*/false,
                                               /*keyed_by_row=*/true};

}  // namespace ropescope
