// What a run of a checkpoint will take, from its settings and a second of products on this machine.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ropescope/core/json.h"

#include "inspect/inspect_report.h"

namespace ropescope::app::inspect {

/// "13.5 GiB"
std::string bytes_text(double bytes);

/// null without a configuration.
Json estimate_json(const InspectReport& report, const EstimateRequest& request);
/// Lines of the human report: label and text.
std::vector<std::pair<std::string, std::string>> estimate_rows(const InspectReport& report,
                                                               const EstimateRequest& request);

}  // namespace ropescope::app::inspect
