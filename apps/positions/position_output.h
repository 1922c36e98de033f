// The result file of `ropescope positions`.
#pragma once

#include <string>
#include <vector>

#include "ropescope/io/result_file.h"

#include "positions/position_report.h"

namespace ropescope::app::positions {

/// A scheme's title in figures, with its layout where there are several.
std::string run_title(const PositionRun& run, const PositionRequest& request);

/// Throws UsageError where the result would be too large (ALiBi's bias).
void write_positions(ResultWriter& writer, const std::vector<PositionRun>& runs,
                     const PositionRequest& request);

}  // namespace ropescope::app::positions
