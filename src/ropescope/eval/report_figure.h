// A table of the papers as bars: the printed figures beside the measured ones.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ropescope/eval/report.h"
#include "ropescope/io/figure.h"

namespace ropescope::eval {

/// A panel for each model of the table of which something was measured; groups of bars are its columns, with
/// the intervals of what was measured. None for a table without measured figures.
std::optional<ropescope::Figure> table_figure(const Report& report, const std::string& table);

/// The panels of all tables of the report. Throws InputError where nothing was measured.
ropescope::Figure report_figure(const Report& report);

/// Names of the report's tables, in order.
std::vector<std::string> table_names(const Report& report);

}  // namespace ropescope::eval
