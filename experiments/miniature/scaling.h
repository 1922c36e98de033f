// Context scaling of the miniature's decoder, as the config.json of a model has it (rope_type, factor and
// original_max_position_embeddings; docs/schemes.md#context-scaling), from the lesson about text on.
//   linear  f / k                            ntk   base theta k^(d/(d-2)), whatever the length
//   yarn    f / k for channels that turn less than once within M, f for those that turn more than 32 times, a ramp between
// Dynamic NTK is not among them: without text between picture and questions no sequence is longer than M, where it changes nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/rope/frequencies.h"

#include "world.h"

namespace ropescope::miniature {

/// Of one picture, unless a run says otherwise.
inline constexpr int64_t kQuestions = 8;

/// Tokens of the longest sequence that a world's pictures make: start, picture, questions with their answers; no text between.
int64_t longest_sequence(const World& world, int64_t questions = kQuestions);

/// "linear", "ntk", "yarn".
const std::vector<std::string>& scaling_types();

/// `type` empty: theta alone. M is the longest sequence of the world, what a model of it is trained on. Throws UsageError for another
/// type, or a factor that does not go with it.
RopeConfig scaled_rope(double theta, const std::string& type, double factor, const World& world);

/// What stands in a config.json beside rope_theta: {"rope_type": "yarn", "factor": 4, ...}; null without a scaling.
Json scaling_json(const RopeConfig& rope);
/// "yarn:4"; "" without a scaling.
std::string scaling_text(const RopeConfig& rope);

}  // namespace ropescope::miniature
