#include "attention/picture_report.h"

#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ropescope::app::attention {

namespace {

constexpr CellClass kClasses[] = {CellClass::kCorner, CellClass::kEdge, CellClass::kInterior};
constexpr const char* kAxes[] = {"rows", "columns"};

Json finite(double x) { return std::isfinite(x) ? Json(x) : Json(); }

std::string text_of(double value, double unit, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value * unit, digits) : "-";
}

}  // namespace

Json number_json(const MeanInterval& number) {
  return {{"mean", finite(number.mean)},
          {"ci95_low", finite(number.ci95_low)},
          {"ci95_high", finite(number.ci95_high)},
          {"count", number.count}};
}

std::string interval_text(const MeanInterval& number, double unit, int digits) {
  if (!std::isfinite(number.mean)) return "-";
  const std::string mean = fmt::format("{:.{}f}", number.mean * unit, digits);
  if (!std::isfinite(number.ci95_low)) return mean;
  return fmt::format("{} [{:.{}f}, {:.{}f}]", mean, number.ci95_low * unit, digits, number.ci95_high * unit,
                     digits);
}

Json sinks_json(const SinkSummary& sinks) {
  Json object = Json::object();
  for (const CellClass which : kClasses) {
    const SinkSummary::OfClass numbers = sinks.of(which);
    object[kCellClassNames[static_cast<size_t>(which)]] = {{"share", number_json(numbers.share)},
                                                           {"uniform", finite(numbers.uniform)},
                                                           {"heads_above", finite(numbers.above)},
                                                           {"heads_rejected", finite(numbers.rejected)}};
  }
  object["v_sinks_a_layer"] = number_json(sinks.v_sinks());
  object["l_sinks_a_layer"] = number_json(sinks.l_sinks());
  object["v_share"] = number_json(sinks.v_share());
  object["l_share"] = number_json(sinks.l_share());
  return object;
}

Json drift_json(const DriftSummary& drift) {
  Json object = {{"predicted", to_json(drift.predicted())}, {"tokens", drift.tokens()}};
  for (size_t which = 0; which < 2; ++which) {
    const DriftSummary::Axis axis = drift.axis(which);
    object[kAxes[which]] = {{"predicted", finite(axis.predicted)},
                            {"tested_shift", axis.shift},
                            {"lag", axis.lag},
                            {"heads_above", finite(axis.above)},
                            {"heads_at_shift", finite(axis.at_prediction)},
                            {"heads_marching", finite(axis.marching)},
                            {"centre_slope", number_json(axis.slope)},
                            {"centre_rejected", finite(axis.slope_rejected)}};
  }
  return object;
}

std::string sinks_table(const AttentionResult& result, TableStyle style) {
  TextTable table({"scheme", "cells", "share of the picture %", "uniform %", "heads above null % (chance 5)",
                   "after correction %", "V-sinks a layer", "their share %", "L-sinks a layer",
                   "their share %"});
  for (const SchemeAttention& scheme : result.schemes) {
    const SinkSummary& sinks = *scheme.sinks;
    for (const CellClass which : kClasses) {
      const SinkSummary::OfClass numbers = sinks.of(which);
      if (numbers.share.count == 0) continue;
      std::vector<std::string> row = {scheme.scheme,
                                      kCellClassNames[static_cast<size_t>(which)],
                                      interval_text(numbers.share, 100, 2),
                                      text_of(numbers.uniform, 100, 2),
                                      text_of(numbers.above, 100, 1),
                                      text_of(numbers.rejected, 100, 1)};
      const bool first = which == CellClass::kCorner;
      row.push_back(first ? interval_text(sinks.v_sinks(), 1, 2) : "");
      row.push_back(first ? interval_text(sinks.v_share(), 100, 2) : "");
      row.push_back(first ? interval_text(sinks.l_sinks(), 1, 2) : "");
      row.push_back(first ? interval_text(sinks.l_share(), 100, 2) : "");
      table.add(std::move(row));
    }
  }
  return table.text(style);
}

std::string drift_table(const AttentionResult& result, TableStyle style) {
  TextTable table({"scheme", "axis", "predicted, cells a token", "phase a token", "tested shift",
                   "heads above null % (chance 5)", "best at the shift %", "marching %", "centre's slope",
                   "slopes after correction %"});
  for (const SchemeAttention& scheme : result.schemes) {
    const DriftSummary& drift = *scheme.drift;
    for (size_t which = 0; which < 2; ++which) {
      const DriftSummary::Axis axis = drift.axis(which);
      const bool other = drift.predicted().kind == DriftPrediction::Kind::kOther;
      table.add(
          {scheme.scheme, kAxes[which], other ? "no shift" : text_of(axis.predicted, 1, 2),
           text_of(drift.predicted().phase, 1, 3),
           axis.lag == 1 ? fmt::format("{:+}", axis.shift) : fmt::format("{:+} in {}", axis.shift, axis.lag),
           text_of(axis.above, 100, 1), text_of(axis.at_prediction, 100, 1), text_of(axis.marching, 100, 1),
           interval_text(axis.slope, 1, 4), text_of(axis.slope_rejected, 100, 1)});
    }
  }
  return table.text(style);
}

}  // namespace ropescope::app::attention
