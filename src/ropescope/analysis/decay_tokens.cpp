#include "ropescope/analysis/decay_tokens.h"

#include <algorithm>

namespace ropescope {

namespace {

/// The pairs of one kind of a run; the rest of it stays.
Samples only_kind(const Samples& run, int64_t kind) {
  Samples part;
  part.model = run.model;
  const at::Tensor rows = (run.pairs.kind == kind).nonzero().squeeze(1);
  part.pairs = run.pairs;
  part.pairs.kind = at::Tensor();
  PairSet& pairs = part.pairs;
  for (at::Tensor* column :
       {&pairs.q, &pairs.k, &pairs.text, &pairs.layer, &pairs.head, &pairs.query, &pairs.key}) {
    if (column->defined()) *column = column->index_select(0, rows);
  }
  return part;
}

}  // namespace

std::vector<DecayTokens> decay_by_tokens(const std::vector<Samples>& runs, const DecayOptions& options) {
  std::vector<DecayTokens> all;
  if (options.source != SampleSource::kPairs || !runs.front().pairs.kind.defined()) return all;
  DecayOptions means = options;
  means.keep = DecayKeep::kMean;
  for (int64_t kind = 0; kind < kPairKinds; ++kind) {
    std::vector<Samples> parts;
    for (const Samples& run : runs) parts.push_back(only_kind(run, kind));
    const bool some =
        std::all_of(parts.begin(), parts.end(), [](const Samples& run) { return run.pairs.size() > 0; });
    if (!some) continue;
    const DecayResult curves = compute_decay(parts, means);
    all.push_back({pair_kind_name(kind), curves.mean, curves.ci95_low, curves.ci95_high, curves.count_behind,
                   curves.clusters});
  }
  return all;
}

}  // namespace ropescope
