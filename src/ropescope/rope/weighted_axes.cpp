#include "ropescope/rope/weighted_axes.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/random.h"

namespace ropescope {

namespace {

enum Row : size_t { kT, kH, kW };

/// cos and sin of right angles are 0, not 6e-17: a channel follows no row by a rounding error.
double clean(double value) { return std::abs(value) < 1e-15 ? 0.0 : value; }

void point_along(double angle, std::vector<double>& of_channel) {
  of_channel[kW] = clean(std::cos(angle));
  of_channel[kH] = clean(std::sin(angle));
}

/// Uniform in [0, 1), the same on every platform.
double uniform(Rng& rng) { return static_cast<double>(rng() >> 11) * 0x1.0p-53; }

void normalise(std::vector<double>& of_channel) {
  double square = 0;
  for (const double weight : of_channel) square += weight * weight;
  if (square == 0) return;
  const double length = std::sqrt(square);
  for (double& weight : of_channel) weight /= length;
}

WeightsOfChannel parse_axis_weights(const Json& file, const std::string& path) {
  const Json* list = file.is_object() ? json_find(file, "weights") : &file;
  const auto sound = [](const Json& row) {
    return row.is_array() && row.size() == 3 && std::all_of(row.begin(), row.end(), [](const Json& value) {
             return value.is_number() && std::abs(value.get<double>()) <= 1e100;
           });
  };
  if (list == nullptr || !list->is_array() || list->empty() ||
      !std::all_of(list->begin(), list->end(), sound)) {
    throw InputError(
        "{}: expected a list of three numbers a channel, [[t,h,w],...], bare or under \"weights\"; found "
        "another form",
        path);
  }
  auto weights = list->get<WeightsOfChannel>();
  for (std::vector<double>& of_channel : weights) normalise(of_channel);
  return weights;
}

/// Frequencies are asked for in every pass: a file is read once, and what becomes of it meanwhile changes no run.
WeightsOfChannel axis_weights_of(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, WeightsOfChannel> known;
  const std::lock_guard<std::mutex> lock(mutex);
  auto found = known.find(path);
  if (found == known.end()) {
    found = known.emplace(path, parse_axis_weights(read_json_file(path), path)).first;
  }
  return found->second;
}

}  // namespace

void spiral_weights(const Division& division, std::vector<WeightsOfChannel>& heads) {
  const Parameters none(division.what, {});
  const Parameters& given = division.parameters == nullptr ? none : *division.parameters;
  const int64_t directions = given.integer("directions", 4, 1);
  if (directions > division.channels) {
    given.refuse("directions", fmt::format("at most one for each of {} channels", division.channels));
  }
  const bool projected = given.choice("text", {"kept", "projected"}) == "projected";
  for (int64_t i = 0; i < division.channels; ++i) {
    std::vector<double>& of_channel = heads[0][static_cast<size_t>(i)];
    point_along(M_PI * static_cast<double>(i % directions) / static_cast<double>(directions), of_channel);
    if (!projected) of_channel[kT] = clean(1.0 - of_channel[kW] - of_channel[kH]);
  }
}

void mixed_weights(const Division& division, std::vector<WeightsOfChannel>& heads) {
  const Parameters none(division.what, {});
  const Parameters& given = division.parameters == nullptr ? none : *division.parameters;
  if (given.has("weights")) {
    if (given.has("seed")) given.refuse("seed", "weights or seed, not both");
    const std::string path = given.text("weights", "");
    heads[0] = axis_weights_of(path);
    if (static_cast<int64_t>(heads[0].size()) != division.channels) {
      throw InputError("{}: expected weights of {} channels (half the rotary dimension), found {}", path,
                       division.channels, heads[0].size());
    }
    return;
  }
  const auto seed = static_cast<uint64_t>(given.integer("seed", 0, 0));
  heads.assign(static_cast<size_t>(division.kv_heads), heads[0]);
  for (size_t head = 0; head < heads.size(); ++head) {
    Rng rng = make_rng(seed, {head});
    const double angle = 2 * M_PI * uniform(rng);
    for (size_t i = 0; i < heads[head].size(); ++i) {
      point_along(2 * i < heads[head].size() ? angle : angle + M_PI / 2, heads[head][i]);
    }
  }
}

}  // namespace ropescope
