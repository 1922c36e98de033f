// What `decay` prints: a table, JSON, CSV.
#pragma once

#include <string>

#include "ropescope/analysis/decay.h"

namespace ropescope::app::decay {

/// `by_kind`: one column a kind of layers (for each theta) in place of one a theta. `all`: a short list of distances is
/// shown whole, not 0 and the powers of two alone.
void print_table(const DecayResult& result, bool by_kind, bool all);
void print_csv(const DecayResult& result, bool by_kind);
void print_json(const DecayResult& result, bool by_kind, const std::string& output, double seconds);

}  // namespace ropescope::app::decay
