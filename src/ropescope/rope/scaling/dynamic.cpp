// Dynamic NTK: base theta (k max(n, M)/M - (k-1))^(d/(d-2)). With `alpha` (HunYuan, XD-RoPE) the base is
// theta alpha^(d/(d-2)) whatever the length.
#include <algorithm>

#include "ropescope/core/errors.h"
#include "ropescope/rope/scaling/scaling.h"

namespace ropescope {

namespace {

ScaledFrequencies dynamic_frequencies(const ScalingInput& input) {
  if (input.config.alpha) return {input.plain(input.widened_base(*input.config.alpha))};
  const double k = input.config.factor, trained = input.trained_length();
  const double stretch = k * std::max(input.sequence_length, trained) / trained - (k - 1);
  return {input.plain(input.widened_base(stretch))};
}

void read_dynamic(const Json& json, const ScalingReader& reader, RopeConfig& rope) {
  rope.alpha = positive_setting(json, "alpha", reader.what);
  if (!rope.alpha && !json_has(json, "factor")) {
    throw InputError(
        "{}: the rope type \"dynamic\" needs \"factor\", or \"alpha\" for a base that no length changes",
        reader.what);
  }
  // HunYuan's files have a factor of 1 beside alpha.
  if (rope.alpha && rope.factor != 1) {
    throw InputError("{}: expected \"alpha\" or \"factor\", found {} and {}", reader.what, *rope.alpha,
                     rope.factor);
  }
  if (rope.alpha) rope.original_max_position_embeddings.reset();
}

void write_dynamic(const RopeConfig& rope, const PartWriter&, Json& json) {
  if (!rope.alpha) return;
  json.erase("factor");
  json.erase("original_max_position_embeddings");
  json["alpha"] = *rope.alpha;
}

}  // namespace

extern const ContextScaling kDynamicScaling = {RopeType::kDynamic,
                                               "dynamic",
                                               {"factor", "original_max_position_embeddings", "alpha"},
                                               dynamic_frequencies,
                                               read_dynamic,
                                               write_dynamic,
                                               /*needs_factor=*/false,
                                               /*keyed_by_row=*/false,
                                               [](const RopeConfig& rope) { return !rope.alpha; },
                                               {"xdrope"}};

}  // namespace ropescope
