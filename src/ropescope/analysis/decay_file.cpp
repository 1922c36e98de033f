#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "ropescope/analysis/decay.h"
#include "ropescope/analysis/kind_facts.h"

namespace ropescope {

namespace {

void write_kinds(ResultWriter& writer, const DecayResult& result) {
  if (result.kinds.empty()) return;
  const std::string group = "/decay/kinds/";
  write_kind_facts(writer, group, result.kinds, result.kind_theta);
  writer.write(group + "mean", result.kind_mean);
  writer.write(group + "ci95_low", result.kind_ci95_low);
  writer.write(group + "ci95_high", result.kind_ci95_high);
}

void write_tokens(ResultWriter& writer, const DecayResult& result) {
  if (result.tokens.empty()) return;
  std::vector<std::string> names;
  std::vector<at::Tensor> mean, low, high;
  std::vector<int64_t> count, clusters;
  for (const DecayTokens& kind : result.tokens) {
    names.push_back(kind.name);
    mean.push_back(kind.mean);
    low.push_back(kind.low);
    high.push_back(kind.high);
    count.push_back(kind.count);
    clusters.push_back(kind.clusters);
  }
  const std::string group = "/decay/tokens/";
  writer.write(group + "name", names);
  writer.write(group + "mean", at::stack(mean, 1));
  writer.write(group + "ci95_low", at::stack(low, 1));
  writer.write(group + "ci95_high", at::stack(high, 1));
  writer.write(group + "count", at::tensor(count, at::kLong));
  writer.write(group + "clusters", at::tensor(clusters, at::kLong));
  writer.attribute("/decay/tokens", "distance", std::string("the same on every axis of the position ids"));
}

}  // namespace

void write_decay(ResultWriter& writer, const DecayResult& result) {
  const auto write = [&](const char* name, const at::Tensor& values) {
    if (values.defined()) writer.write(std::string("/decay/") + name, values);
  };
  write("distance", result.distance);
  write("theta", result.theta);
  write("theta_scale", result.theta_scale);
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
  write("norm_q", result.norm_q);
  write("norm_k", result.norm_k);
  write_kinds(writer, result);
  write_tokens(writer, result);
  const bool causal = result.options.sign == DecaySign::kCausal;
  writer.attribute("/decay", "sign", causal ? int64_t{-1} : int64_t{1});
  writer.attribute("/decay", "source",
                   std::string(result.options.source == SampleSource::kPairs ? "pairs" : "moments"));
  writer.attribute("/decay", "encoding", std::string(result.options.pope ? "pope" : "rope"));
  if (result.options.pope && result.options.pope->delta.defined()) {
    const at::Tensor& delta = result.options.pope->delta;
    writer.write("/decay/pope_bias", delta.reshape({-1, delta.dim() == 0 ? 1 : delta.size(-1)}));
  }
  writer.attribute("/decay", "theta_source", theta_source(result.options));
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
