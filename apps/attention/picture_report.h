// What `ropescope attention` says of sinks and of drift.
#pragma once

#include <string>

#include "ropescope/analysis/attention_study.h"
#include "ropescope/core/json.h"

#include "text_table.h"

namespace ropescope::app::attention {

/// {"mean":..,"ci95_low":..,"ci95_high":..,"count":..}; null for what is not finite.
Json number_json(const MeanInterval& number);
/// "12.3 [11.0, 13.6]" in units of 1 / `unit`; without bounds where there are none, "-" without a number.
std::string interval_text(const MeanInterval& number, double unit, int digits);

Json sinks_json(const SinkSummary& sinks);
Json drift_json(const DriftSummary& drift);

/// One line a scheme and class of cells.
std::string sinks_table(const AttentionResult& result, TableStyle style);
/// One line a scheme and axis.
std::string drift_table(const AttentionResult& result, TableStyle style);

}  // namespace ropescope::app::attention
