#include "ropescope/analysis/decay.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/decay_coefficients.h"
#include "ropescope/analysis/statistics.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/parallel.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

/// Frequencies of every channel pair under one theta, and what the rotation multiplies logits by.
struct Rotation {
  at::Tensor inv_freq;  // [h] float64; pairs that do not rotate have 0
  int64_t rotary_dim = 0;
  double scale = 1.0;
};

Rotation rotation_of(const ModelFacts& model, double theta) {
  RopeConfig rope = model.rope.value_or(RopeConfig{});
  rope.theta = theta;
  const Frequencies frequencies =
      make_frequencies(rope, model.head_dim, model.max_position_embeddings, model.max_position_embeddings);
  Rotation rotation;
  rotation.rotary_dim = 2 * frequencies.inv_freq.size(0);
  rotation.inv_freq = at::zeros({model.head_dim / 2}, at::kDouble);
  rotation.inv_freq.narrow(0, 0, rotation.rotary_dim / 2).copy_(frequencies.inv_freq);
  rotation.scale = frequencies.attention_scale * frequencies.attention_scale;
  return rotation;
}

DecayCoefficients coefficients_of(const Samples& run, SampleSource source, int64_t rotary_dim) {
  if (source == SampleSource::kMoments) {
    if (!run.moments)
      throw UsageError("--source moments: the samples hold no moments; sample with --moments");
    return coefficients_from_moments(*run.moments, rotary_dim);
  }
  if (run.pairs.size() == 0) throw UsageError("--source pairs: the samples hold no pairs");
  return coefficients_from_pairs(run.pairs, run.model.num_layers, run.model.num_heads, rotary_dim);
}

/// Rows that are evaluated together, and where each kind begins. One evaluation shares its sines among all.
struct RowBlock {
  at::Tensor rows;  // [R, 2h]
  int64_t bands = 0, deviations = 0, spread = 0, layers = 0, layer_deviations = 0, heads = 0, end = 0;
};

at::Tensor band_rows(const at::Tensor& overall) {
  const int64_t half = overall.size(0) / 2;
  at::Tensor rows = at::zeros({kDecayBands, 2 * half}, at::kDouble);
  for (int64_t i = 0; i < half; ++i) {
    const int64_t band = i * kDecayBands / half;
    rows[band][i] = overall[i];
    rows[band][half + i] = overall[half + i];
  }
  return rows;
}

RowBlock collect_rows(const DecayCoefficients& c, bool with_layers, bool with_heads) {
  std::vector<at::Tensor> parts;
  int64_t size = 0;
  const auto add = [&](const at::Tensor& rows) {
    const int64_t begin = size;
    parts.push_back(rows);
    size += rows.size(0);
    return begin;
  };
  RowBlock block;
  add(c.overall.unsqueeze(0));
  block.bands = add(band_rows(c.overall));
  block.deviations = add(c.overall_deviations);
  block.spread = c.spread.defined() ? add(c.spread) : size;
  block.layers = with_layers ? add(c.layer) : size;
  block.layer_deviations = with_layers ? add(c.layer_deviations.flatten(0, 1)) : size;
  block.heads = with_heads ? add(c.head.flatten(0, 1)) : size;
  block.end = size;
  block.rows = at::cat(parts);
  return block;
}

at::Tensor root_of_squares(const at::Tensor& values, int64_t dim) {
  return (values * values).sum(dim).sqrt();
}

/// Student quantile of each layer's clusters, [L, 1].
at::Tensor layer_quantiles(const at::Tensor& clusters) {
  std::vector<double> quantiles;
  for (int64_t i = 0; i < clusters.size(0); ++i) {
    quantiles.push_back(student_quantile(0.95, clusters[i].item<int64_t>() - 1));
  }
  return at::tensor(quantiles, at::kDouble).unsqueeze(1);
}

/// One theta: everything that its distances share.
struct ThetaTask {
  DecayCoefficients coefficients;
  Rotation rotation;
  RowBlock block;
  at::Tensor rows;             // block.rows, scaled as the rotation scales logits
  double quantile = kNan;      // Student quantile for the overall mean
  at::Tensor layer_quantiles;  // [L, 1]
};

ThetaTask make_task(const DecayCoefficients& c, const Rotation& rotation, const DecayResult& result) {
  ThetaTask task;
  task.coefficients = c;
  task.rotation = rotation;
  task.block = collect_rows(c, result.by_layer.defined(), result.by_head.defined());
  task.rows = task.block.rows * rotation.scale;
  task.quantile = student_quantile(0.95, c.clusters - 1);
  task.layer_quantiles = layer_quantiles(c.layer_clusters);
  return task;
}

/// Fills distances begin..begin+size-1 of row t. Chunks write apart from each other, so they may run at once.
void evaluate_chunk(int64_t t, const ThetaTask& task, int64_t begin, int64_t size, DecayResult& result) {
  const RowBlock& block = task.block;
  const int64_t half = task.rotation.inv_freq.size(0);
  const at::Tensor distance = result.distance.narrow(0, begin, size).to(at::kDouble);
  const at::Tensor curves = evaluate_decay(task.rows.narrow(1, 0, half), task.rows.narrow(1, half, half),
                                           distance, task.rotation.inv_freq, result.options.sign);
  const auto between = [&](int64_t first, int64_t last) { return curves.narrow(0, first, last - first); };
  const auto place = [&](const at::Tensor& of) { return of[t].narrow(-1, begin, size); };
  const at::Tensor mean = curves[0];
  const at::Tensor margin = root_of_squares(between(block.deviations, block.spread), 0) * task.quantile;
  place(result.mean).copy_(mean);
  place(result.ci95_low).copy_(mean - margin);
  place(result.ci95_high).copy_(mean + margin);
  if (result.std.defined()) place(result.std).copy_(root_of_squares(between(block.spread, block.layers), 0));
  place(result.band_contribution).copy_(between(block.bands, block.deviations));
  place(result.abel_bound)
      .copy_(abel_bound(task.rows[0].narrow(0, 0, half), task.rows[0].narrow(0, half, half), distance,
                        task.rotation.inv_freq));
  if (result.by_layer.defined()) {
    const at::Tensor layer = between(block.layers, block.layer_deviations);
    const at::Tensor deviations =
        between(block.layer_deviations, block.heads).view({layer.size(0), -1, size});
    const at::Tensor layer_margin = root_of_squares(deviations, 1) * task.layer_quantiles;
    place(result.by_layer).copy_(layer);
    place(result.by_layer_ci95_low).copy_(layer - layer_margin);
    place(result.by_layer_ci95_high).copy_(layer + layer_margin);
  }
  if (result.by_head.defined()) {
    place(result.by_head)
        .copy_(between(block.heads, block.end).view({task.coefficients.head.size(0), -1, size}));
  }
}

/// What compares row t with its own start at distance 0.
void relate_to_start(int64_t t, const ThetaTask& task, DecayResult& result) {
  const int64_t half = task.rotation.inv_freq.size(0);
  const auto at_zero = [&](const at::Tensor& rows) { return rows.narrow(-1, 0, half).sum(-1); };
  const at::Tensor start = at_zero(task.rows[0]);
  result.relative[t].copy_(result.mean[t] / start);
  result.normalised[t].copy_(result.mean[t] / (task.coefficients.mean_norm * task.rotation.scale));
  const at::Tensor band_start = at_zero(task.rows.narrow(0, task.block.bands, kDecayBands)).unsqueeze(1);
  const at::Tensor fall = start - result.mean[t];
  result.band_share[t].copy_((band_start - result.band_contribution[t]) / fall);
  result.band_share[t].masked_fill_(fall == 0, kNan);
}

void evaluate(const std::vector<ThetaTask>& tasks, DecayResult& result) {
  // A chunk's curves stay near the caches; its size must not depend on the threads.
  constexpr int64_t kChunkBytes = int64_t{8} << 20;
  const int64_t distances = result.distance.size(0);
  const int64_t chunk = std::clamp<int64_t>(kChunkBytes / (8 * tasks.front().block.end), 64, 4096);
  const int64_t chunks = (distances + chunk - 1) / chunk;
  parallel_for_each(static_cast<int64_t>(tasks.size()) * chunks, [&](int64_t i) {
    const int64_t begin = i % chunks * chunk;
    evaluate_chunk(i / chunks, tasks[static_cast<size_t>(i / chunks)], begin,
                   std::min(chunk, distances - begin), result);
  });
  for (size_t t = 0; t < tasks.size(); ++t) relate_to_start(static_cast<int64_t>(t), tasks[t], result);
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
  const int64_t limit = result.options.memory_limit_bytes;
  const int64_t curves = T * D * 8 * (7 + 2 * kDecayBands);
  if (curves > limit) {
    throw EnvironmentError(
        "the curves of {} thetas at {} distances need {}, the limit is {}; try --distances, fewer thetas or "
        "--memory-limit",
        T, D, mebibytes(curves), mebibytes(limit));
  }
  const auto curve = [&] { return at::empty({T, D}, at::kDouble); };
  result.mean = curve();
  result.ci95_low = curve();
  result.ci95_high = curve();
  if (with_std) result.std = curve();
  result.abel_bound = curve();
  result.normalised = curve();
  result.relative = curve();
  result.band_contribution = at::empty({T, kDecayBands, D}, at::kDouble);
  result.band_share = at::empty({T, kDecayBands, D}, at::kDouble);
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
  if (options.theta.empty()) throw UsageError("--theta: expected at least one value");
  for (const double theta : options.theta) {
    if (!(theta > 0.0) || !std::isfinite(theta)) {
      throw UsageError("--theta: expected positive numbers, found {}", theta);
    }
  }
  if (options.distance.numel() == 0 || options.distance.min().item<int64_t>() < 0) {
    throw UsageError("--distances: expected at least one distance, all of them 0 or more");
  }
  if (runs.empty() || (runs.size() != 1 && runs.size() != options.theta.size())) {
    throw InternalError("compute_decay: expected one set of samples, or one for each theta");
  }
}

}  // namespace

DecayResult compute_decay(const std::vector<Samples>& runs, const DecayOptions& options) {
  validate(runs, options);
  DecayResult result;
  result.options = options;
  result.distance = options.distance.to(at::kLong).contiguous();
  result.theta = at::tensor(options.theta, at::kDouble);
  const ModelFacts& model = runs.front().model;
  result.sources = model.sources;
  const bool one_run = runs.size() == 1;
  std::vector<at::Tensor> a_by_theta, b_by_theta, band_edges;
  DecayCoefficients coefficients;
  std::vector<ThetaTask> tasks;
  for (size_t t = 0; t < options.theta.size(); ++t) {
    const Rotation rotation = rotation_of(model, options.theta[t]);
    if (t == 0 || !one_run) {
      coefficients = coefficients_of(runs[one_run ? 0 : t], options.source, rotation.rotary_dim);
      const int64_t half = model.head_dim / 2;
      a_by_theta.push_back(coefficients.head.narrow(-1, 0, half).contiguous());
      b_by_theta.push_back(coefficients.head.narrow(-1, half, half).contiguous());
    }
    if (t == 0) {
      allocate(result, model, coefficients.spread.defined());
      result.count = coefficients.count;
      result.clusters = coefficients.clusters;
      result.interval = coefficients.interval;
    }
    tasks.push_back(make_task(coefficients, rotation, result));
    band_edges.push_back(band_frequencies(rotation.inv_freq));
  }
  evaluate(tasks, result);
  result.band_frequency = at::stack(band_edges);
  result.coefficient_a = a_by_theta.front();
  result.coefficient_b = b_by_theta.front();
  if (!one_run) {
    result.coefficient_a_by_theta = at::stack(a_by_theta);
    result.coefficient_b_by_theta = at::stack(b_by_theta);
  }
  if (result.clusters < 2) result.notes.push_back("no confidence intervals (" + result.interval + ")");
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
