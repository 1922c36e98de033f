// What `ropescope positions` measured, on stdout.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ropescope/rope/drift.h"
#include "ropescope/rope/misalignment.h"

#include "inputs/position_input.h"
#include "text_table.h"

namespace ropescope::app::positions {

/// One scheme on one layout.
struct PositionRun {
  const Scheme* scheme = nullptr;
  const Layout* layout = nullptr;
  Positions positions;
  PositionBudget budget;
  std::optional<Criteria> criteria;
  std::optional<DriftPrediction> drift;  ///< with the criteria, of the first picture's thumbnail or only grid
  struct Misalignment {
    std::optional<ResizeMisalignment> resize;
  };
  AnyresDistances distances;  ///< with the criteria or the misalignment
  std::optional<Misalignment> misalignment;
};

PositionRun measure_positions(const PositionRequest& request, const Scheme& scheme, const Layout& layout);

/// The object of --json.
Json run_json(const PositionRun& run, const PositionRequest& request);

/// Segments with their ids, the budget, and the tables that were asked for.
std::string runs_text(const std::vector<PositionRun>& runs, const PositionRequest& request, TableStyle style);
/// Every token of every run, or the tables that were asked for.
std::string runs_csv(const std::vector<PositionRun>& runs, const PositionRequest& request);

}  // namespace ropescope::app::positions
