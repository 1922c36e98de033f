// CoPE, "clipped RoPE" (hrlics/CoPE): after any other scaling the last n channels, the slowest, are damped,
//   soft  times (1 + cos phi) / 2, phi = pi j / (n - 1), j = 0..n-1: the first keeps its frequency, the last stands still
//   hard  times 0
// n is cut to h; one channel alone keeps its frequency in the soft form. The attention factor of what comes first stays.
#include <algorithm>
#include <cmath>

#include "ropescope/core/errors.h"
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

namespace {

ScaledFrequencies cope_frequencies(const ScalingInput& input) {
  const RopeConfig& config = input.config;
  ScaledFrequencies result =
      config.parts.empty() ? ScaledFrequencies{input.plain()} : input.part(config.parts.front());
  const size_t n = std::min(static_cast<size_t>(config.channels), result.values.size());
  for (size_t j = 0; j < n; ++j) {
    double& f = result.values[result.values.size() - n + j];
    if (config.hard || (n > 1 && j == n - 1)) {
      f = 0;
    } else if (n > 1) {
      f *= 0.5 * (1 + std::cos(M_PI * static_cast<double>(j) / static_cast<double>(n - 1)));
    }
  }
  return result;
}

void read_cope(const Json& json, const ScalingReader& reader, RopeConfig& rope) {
  rope.channels = count_setting(json, "channels", 1, reader.what).value_or(rope.channels);
  const std::string form = json_string_or(json, "form", "soft", reader.what);
  if (form != "soft" && form != "hard") {
    throw InputError("{}: \"form\": expected soft or hard, found \"{}\"", reader.what, form);
  }
  rope.hard = form == "hard";
  if (json_has(json, "inner")) rope.parts = {reader.part(json["inner"], "inner")};
}

void write_cope(const RopeConfig& rope, const PartWriter& part, Json& json) {
  json["channels"] = rope.channels;
  json["form"] = rope.hard ? "hard" : "soft";
  if (!rope.parts.empty()) json["inner"] = part(rope.parts.front());
}

}  // namespace

extern const ContextScaling kCopeScaling = {RopeType::kCope,  "cope",    {"channels", "form", "inner"},
                                            cope_frequencies, read_cope, write_cope};

}  // namespace ropescope
