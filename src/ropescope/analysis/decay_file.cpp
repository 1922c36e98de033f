#include "ropescope/analysis/decay.h"

namespace ropescope {

void write_decay(ResultWriter& writer, const DecayResult& result) {
  const auto write = [&](const char* name, const at::Tensor& values) {
    if (values.defined()) writer.write(std::string("/decay/") + name, values);
  };
  write("distance", result.distance);
  write("theta", result.theta);
  write("mean", result.mean);
  write("ci95_low", result.ci95_low);
  write("ci95_high", result.ci95_high);
  write("std", result.std);
  write("by_layer", result.by_layer);
  write("by_layer_ci95_low", result.by_layer_ci95_low);
  write("by_layer_ci95_high", result.by_layer_ci95_high);
  write("by_head", result.by_head);
  write("coefficient_a", result.coefficient_a);
  write("coefficient_b", result.coefficient_b);
  write("coefficient_a_by_theta", result.coefficient_a_by_theta);
  write("coefficient_b_by_theta", result.coefficient_b_by_theta);
  write("count", result.count);
  write("abel_bound", result.abel_bound);
  write("normalised", result.normalised);
  write("relative", result.relative);
  write("band_contribution", result.band_contribution);
  write("band_share", result.band_share);
  write("band_frequency", result.band_frequency);
  const bool causal = result.options.sign == DecaySign::kCausal;
  writer.attribute("/decay", "sign", causal ? int64_t{-1} : int64_t{1});
  writer.attribute("/decay", "source",
                   std::string(result.options.source == SampleSource::kPairs ? "pairs" : "moments"));
  writer.attribute("/decay", "resampled", static_cast<int64_t>(result.options.resampled));
  writer.attribute("/decay", "interval", result.interval);
  writer.attribute("/decay", "clusters", result.clusters);
  if (!result.sources.empty()) writer.attribute("/decay", "sources", result.sources);
  if (!result.options.selection.empty()) {
    writer.attribute("/decay", "selection", result.options.selection);
  }
  writer.attribute("/decay", "empty", std::string("NaN: no pair fell there"));
}

}  // namespace ropescope
