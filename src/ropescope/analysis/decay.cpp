#include "ropescope/analysis/decay.h"

#include <cmath>
#include <string>

#include <ATen/ops/bincount.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "ropescope/analysis/decay_evaluation.h"
#include "ropescope/analysis/decay_tokens.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

/// [L] bool: layers that the source of a run has anything of.
at::Tensor measured_layers(const Samples& run, SampleSource source) {
  if (source == SampleSource::kMoments) {
    if (!run.moments)
      throw UsageError("--source moments: the samples hold no moments; sample with --moments");
    return (run.moments->count > 0).any(1);
  }
  if (run.pairs.size() == 0) throw UsageError("--source pairs: the samples hold no pairs");
  return at::bincount(run.pairs.layer, {}, run.model.num_layers) > 0;
}

DecayCoefficients coefficients_of(const Samples& run, SampleSource source, const DecayLayers& layers) {
  if (source == SampleSource::kMoments) return coefficients_from_moments(*run.moments, layers);
  return coefficients_from_pairs(run.pairs, run.model.num_heads, layers);
}

at::Tensor band_frequencies(const at::Tensor& inv_freq) {
  const int64_t half = inv_freq.size(0);
  at::Tensor edges = at::full({kDecayBands, 2}, kNan, at::kDouble);
  for (int64_t i = 0; i < half; ++i) {
    const int64_t band = i * kDecayBands / half;
    if (edges[band][0].isnan().item<bool>()) edges[band][0] = inv_freq[i];
    edges[band][1] = inv_freq[i];
  }
  return edges;
}

std::string mebibytes(int64_t bytes) {
  return fmt::format("{:.0f} MiB", static_cast<double>(bytes) / 1048576.0);
}

/// Makes room for what fits under the limit; maps that do not are left out and named.
void allocate(DecayResult& result, const ModelFacts& model, bool with_std) {
  const int64_t T = result.theta.size(0);
  const int64_t D = result.distance.size(0);
  const int64_t L = model.num_layers;
  const int64_t H = model.num_heads;
  const int64_t K = static_cast<int64_t>(result.kinds.size());
  const int64_t limit = result.options.memory_limit_bytes;
  const int64_t curves = T * D * 8 * (7 + 2 * kDecayBands + 3 * K);
  if (curves > limit) {
    throw EnvironmentError(
        "the curves of {} thetas at {} distances need {}, the limit is {}; try --distances, fewer thetas or "
        "--memory-limit",
        T, D, mebibytes(curves), mebibytes(limit));
  }
  // NaN stays where nothing is evaluated.
  const auto curve = [&] { return at::full({T, D}, kNan, at::kDouble); };
  result.mean = curve();
  result.ci95_low = curve();
  result.ci95_high = curve();
  if (with_std) result.std = curve();
  result.abel_bound = curve();
  result.normalised = curve();
  result.relative = curve();
  result.band_contribution = at::full({T, kDecayBands, D}, kNan, at::kDouble);
  result.band_share = at::full({T, kDecayBands, D}, kNan, at::kDouble);
  if (K > 0) {
    result.kind_mean = at::full({T, K, D}, kNan, at::kDouble);
    result.kind_ci95_low = at::full({T, K, D}, kNan, at::kDouble);
    result.kind_ci95_high = at::full({T, K, D}, kNan, at::kDouble);
  }
  int64_t used = curves;
  const auto fits = [&](const char* name, int64_t bytes) {
    if (bytes <= limit - used) {
      used += bytes;
      return true;
    }
    result.notes.push_back(
        fmt::format("{} left out: it needs {} of the {} limit; try --distances or --memory-limit", name,
                    mebibytes(bytes), mebibytes(limit)));
    return false;
  };
  const DecayKeep keep = result.options.keep;
  if (keep != DecayKeep::kMean && fits("by_layer", 3 * 4 * T * L * D)) {
    result.by_layer = at::empty({T, L, D}, at::kFloat);
    result.by_layer_ci95_low = at::empty({T, L, D}, at::kFloat);
    result.by_layer_ci95_high = at::empty({T, L, D}, at::kFloat);
  }
  constexpr int64_t kSmallMap = int64_t{64} << 20;
  const int64_t by_head = 4 * T * L * H * D;
  if (keep == DecayKeep::kSmall && by_head > kSmallMap) {
    result.notes.push_back(fmt::format(
        "by_head left out: it would take {} of the result file; --keep all writes it, --keep layers says that it is "
        "not wanted",
        mebibytes(by_head)));
    return;
  }
  const bool wanted = keep == DecayKeep::kSmall || keep == DecayKeep::kAll;
  if (wanted && fits("by_head", by_head)) result.by_head = at::empty({T, L, H, D}, at::kFloat);
}

void validate(const std::vector<Samples>& runs, const DecayOptions& options) {
  if (options.distance.numel() == 0 || options.distance.min().item<int64_t>() < 0) {
    throw UsageError("--distances: expected at least one distance, all of them 0 or more");
  }
  if (runs.empty() || (runs.size() != 1 && runs.size() != base_changes(options).size())) {
    throw InternalError("compute_decay: expected one set of samples, or one for each column");
  }
  check_bases(options, runs.front().model);
}

/// Names, counts and bases of the kinds; curves where the one kind is the whole.
void describe_kinds(const DecayLayers& layers, const DecayCoefficients& coefficients,
                    const std::vector<BaseChange>& changes, DecayResult& result) {
  const auto K = static_cast<int64_t>(layers.kinds.size());
  if (K == 0) return;
  result.kind_theta = kind_bases(layers, changes);
  for (int64_t k = 0; k < K; ++k) {
    const LayerKind& kind = layers.kinds[static_cast<size_t>(k)];
    const KindCoefficients& numbers = coefficients.kinds[static_cast<size_t>(k)];
    result.kinds.push_back({kind.name, ranges_text(kind.layers), kind.facts.window, kind.facts.chunk,
                            kind.facts.rotates, numbers.count, numbers.clusters});
  }
}

/// What a reader of the curves should know, in sentences.
void add_notes(const DecayLayers& layers, const ModelFacts& model, DecayResult& result) {
  if (result.clusters < 2) result.notes.push_back("no confidence intervals (" + result.interval + ")");
  std::vector<int64_t> still;
  for (const LayerKind& kind : layers.kinds) {
    if (!kind.facts.rotates) still.insert(still.end(), kind.layers.begin(), kind.layers.end());
  }
  if (!still.empty()) {
    result.notes.push_back(fmt::format("layers {} do not rotate: their curves are flat, and {}",
                                       ranges_text(still),
                                       layers.turning.empty() ? "there is no mean over layers that rotate"
                                                              : "the mean is over the other layers"));
  }
  if (layers.turning.size() > 1) {
    result.notes.push_back(fmt::format("layers turn in {} ways: band_frequency is that of layers {}",
                                       layers.turning.size(), ranges_text(layers.turning.front().layers)));
  }
  if (!layers.normed.empty()) {
    result.notes.push_back(fmt::format(
        "layers {} normalise q and k after the rotation: curves are of the product before that; norm_q and "
        "norm_k hold the mean norms of each layer",
        ranges_text(layers.normed)));
  }
  const std::string left_out = left_out_layers(model);
  if (!left_out.empty()) result.notes.push_back(left_out);
}

}  // namespace

namespace {

/// PoPE's curves are RoPE's of other vectors.
DecayResult pope_decay(const std::vector<Samples>& runs, const DecayOptions& options) {
  if (options.source == SampleSource::kMoments) {
    throw UsageError(
        "--encoding pope: expected --source pairs, since softplus of a mean is not the mean of softplus");
  }
  std::vector<Samples> polar;
  for (const Samples& run : runs) polar.push_back(pope_samples(run, *options.pope));
  DecayOptions rotary = options;
  rotary.pope.reset();
  DecayResult result = compute_decay(polar, rotary);
  result.options = options;
  result.notes.emplace_back(
      "q and k are those of a model that was not trained under PoPE: the curves say what PoPE would do with them, not "
      "what a model would learn under it");
  return result;
}

}  // namespace

DecayResult compute_decay(const std::vector<Samples>& runs, const DecayOptions& options) {
  if (options.pope) return pope_decay(runs, options);
  validate(runs, options);
  DecayResult result;
  result.options = options;
  result.distance = options.distance.to(at::kLong).contiguous();
  const ModelFacts& model = runs.front().model;
  result.sources = model.sources;
  const std::vector<BaseChange> changes = base_changes(options);
  const DecayLayers layers = decay_layers(model, measured_layers(runs.front(), options.source));
  std::vector<double> bases;
  for (const BaseChange& change : changes)
    bases.push_back(change.theta.value_or(common_base(layers, change)));
  result.theta = at::tensor(bases, at::kDouble);
  if (!options.theta_scale.empty()) result.theta_scale = at::tensor(options.theta_scale, at::kDouble);
  const bool one_run = runs.size() == 1;
  std::vector<at::Tensor> a_by_theta, b_by_theta, band_edges;
  DecayCoefficients coefficients;
  std::vector<DecayColumn> columns;
  for (size_t t = 0; t < changes.size(); ++t) {
    if (t == 0 || !one_run) {
      coefficients = coefficients_of(runs[one_run ? 0 : t], options.source, layers);
      const int64_t half = model.head_dim / 2;
      a_by_theta.push_back(coefficients.head.narrow(-1, 0, half).contiguous());
      b_by_theta.push_back(coefficients.head.narrow(-1, half, half).contiguous());
    }
    if (t == 0) {
      describe_kinds(layers, coefficients, changes, result);
      allocate(result, model, coefficients.spread.defined());
      result.count = coefficients.count;
      result.clusters = coefficients.clusters;
      result.interval = coefficients.interval;
      for (const TurningLayers& part : layers.turning) {
        result.count_behind +=
            coefficients.count.masked_fill(layers.among(part.layers).logical_not().unsqueeze(1), 0)
                .sum()
                .item<int64_t>();
      }
      if (!layers.normed.empty()) {
        result.norm_q = coefficients.norm_q;
        result.norm_k = coefficients.norm_k;
      }
    }
    columns.push_back(make_column(coefficients, layers, model.max_position_embeddings, changes[t], result));
    band_edges.push_back(layers.turning.empty()
                             ? at::full({kDecayBands, 2}, kNan, at::kDouble)
                             : band_frequencies(columns.back().blocks.front().rotation.inv_freq));
  }
  evaluate_columns(columns, result);
  if (layers.alike() && layers.kinds.size() == 1) {
    result.kind_mean.select(1, 0).copy_(result.mean);
    result.kind_ci95_low.select(1, 0).copy_(result.ci95_low);
    result.kind_ci95_high.select(1, 0).copy_(result.ci95_high);
  }
  result.band_frequency = at::stack(band_edges);
  result.coefficient_a = a_by_theta.front();
  result.coefficient_b = b_by_theta.front();
  if (!one_run) {
    result.coefficient_a_by_theta = at::stack(a_by_theta);
    result.coefficient_b_by_theta = at::stack(b_by_theta);
  }
  add_notes(layers, model, result);
  result.tokens = decay_by_tokens(runs, options);
  return result;
}

std::vector<double> log_grid(double low, double high, int64_t count) {
  if (!(low > 0.0) || !(high >= low) || !std::isfinite(high) || count < 1) {
    throw UsageError("--theta-grid: expected LO:HI:N with 0 < LO <= HI and N >= 1");
  }
  std::vector<double> values(static_cast<size_t>(count), low);
  for (int64_t i = 1; i < count; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(count - 1);
    values[static_cast<size_t>(i)] = std::stod(fmt::format("{:.11e}", low * std::pow(high / low, share)));
  }
  if (count > 1) values.back() = high;
  return values;
}

}  // namespace ropescope
