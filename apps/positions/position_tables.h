// The tables of `ropescope positions`.
#pragma once

#include <string>
#include <vector>

#include "positions/position_report.h"

namespace ropescope::app::positions {

/// An id with as many digits as it needs.
std::string id_text(double id);

/// Verdicts with their reasons, beside those of the paper's prose.
TextTable criteria_table(const std::vector<PositionRun>& runs);
/// Every number behind the verdicts, one column each.
TextTable criteria_columns(const std::vector<PositionRun>& runs);
/// Wrong thumbnail ids, and distances thumbnail - high-res - text (median, and largest in brackets).
TextTable misalignment_table(const std::vector<PositionRun>& runs);
/// All tokens of all runs.
TextTable token_table(const std::vector<PositionRun>& runs);

}  // namespace ropescope::app::positions
