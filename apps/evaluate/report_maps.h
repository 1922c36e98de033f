// Attention maps in a report's page: where the last token of a prompt looks, under each run's scheme.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "ropescope/eval/report_page.h"

#include "command.h"

namespace ropescope::app::report {

struct MapRequest {
  std::vector<std::string> models;  ///< one for all runs, or one a run
  int64_t count = 0;                ///< items of each set, those on which the runs differ first
  std::set<int64_t> records;        ///< these in place of `count`
  int64_t picture_pixels = 0;       ///< as PageOptions
};

/// Asks the runs' questions once more, with the settings that the runs were made with, and puts the maps
/// beside the answers: attention of the prompt's last token on each token of a picture, mean over layers and
/// heads. Throws UsageError for models, records or data that do not fit the runs.
void add_maps(const eval::Report& report, const MapRequest& request, const CommonSettings& settings,
              eval::ReportPage& page);

}  // namespace ropescope::app::report
