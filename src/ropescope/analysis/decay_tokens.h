// Decay curves of texts with pictures, by the kinds of token that meet.
#pragma once

#include <vector>

#include "ropescope/analysis/decay.h"

namespace ropescope {

/// The curves of each kind of pair that samples hold, made as all of their curves are; empty where pairs are not told
/// apart (PairSet::kind), or of moments. Throws as compute_decay does.
std::vector<DecayTokens> decay_by_tokens(const std::vector<Samples>& runs, const DecayOptions& options);

}  // namespace ropescope
