// What `decay` prints: a table, JSON, CSV.
#pragma once

#include <string>

#include "ropescope/analysis/decay.h"

namespace ropescope::app::decay {

/// What the columns are: one a theta, or (for each theta) one a kind of layers, one a kind of pair of texts with pictures.
enum class DecayBy { kTheta, kLayers, kTokens };

/// `all`: a short list of distances is shown whole, not 0 and the powers of two alone.
void print_table(const DecayResult& result, DecayBy by, bool all);
void print_csv(const DecayResult& result, DecayBy by);
void print_json(const DecayResult& result, DecayBy by, const std::string& output, double seconds);

}  // namespace ropescope::app::decay
