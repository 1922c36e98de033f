// What `locality` prints: tables, JSON, CSV.
#pragma once

#include <string>

#include "ropescope/analysis/locality.h"

namespace ropescope::app::locality {

/// `by_kind`: the columns are those of each kind of layers in place of the mean over layers that rotate.
void print_table(const LocalityResult& result, bool by_kind);
void print_csv(const LocalityResult& result, bool by_kind);
void print_json(const LocalityResult& result, const std::string& output, double seconds);

}  // namespace ropescope::app::locality
