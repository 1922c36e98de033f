#include "ropescope/analysis/figures.h"

#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include <ATen/ops/nanquantile.h>

#include "ropescope/analysis/figure_data.h"
#include "ropescope/analysis/figures_attention.h"
#include "ropescope/analysis/figures_decay.h"
#include "ropescope/analysis/figures_evaluation.h"
#include "ropescope/analysis/figures_locality.h"
#include "ropescope/analysis/figures_pictures.h"
#include "ropescope/analysis/figures_positions.h"
#include "ropescope/analysis/figures_prior.h"
#include "ropescope/analysis/figures_training.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"

namespace ropescope {

namespace {

/// The paper's Fig. 5: one panel a theta, one curve a mean; the closed form as circles at a few distances,
/// since the two lines would hide one another.
Figure simulation_curves(const ResultReader& result, const FigureSelection& selection) {
  const at::Tensor mean = read_axes(result, "/simulation/mean", 1);
  const at::Tensor theta = read_axes(result, "/simulation/theta", 1);
  const at::Tensor distances = read_axes(result, "/simulation/distance", 1);
  const std::vector<int64_t> shape = {mean.size(0), theta.size(0), distances.size(0)};
  const at::Tensor average = read_shaped(result, "/simulation/average", shape);
  const at::Tensor expected = read_shaped(result, "/simulation/expected", shape);
  const at::Tensor std = read_shaped(result, "/simulation/std", shape);
  const DistanceAxis distance(distances, selection.max_distance);
  double trials = 0;
  if (result.has_attribute("/simulation", "trials")) {
    const Attribute value = result.attribute("/simulation", "trials");
    if (const auto* count = std::get_if<int64_t>(&value)) trials = static_cast<double>(*count);
  }

  Figure figure;
  figure.title =
      trials > 0 ? fmt::format("Gaussian queries and keys: average of {} trials, ± 2 standard errors", trials)
                 : "Gaussian queries and keys";
  const std::vector<int64_t> shown = spread_indices(mean.size(0), 6);
  const std::vector<int64_t> marked = log_spread_indices(distance.position, 20);
  for (const int64_t t : select_values(selection.theta, theta, kMostThetaPanels, "theta")) {
    Panel panel;
    panel.title = theta_label(theta[t].item<double>());
    panel.x = distance.axis;
    panel.y.label = "inner product q·k (not divided by √d)";
    panel.zero_line = true;
    std::vector<Series> circles;
    for (size_t i = shown.size(); i-- > 0;) {  // small means last: they would vanish under the large ones
      const int64_t u = shown[i];
      Series series;
      series.label = "mean " + number_label(mean[u].item<double>());
      series.x = distance.position;
      series.y = to_vector(average[u][t]);
      series.colour = curve_colour(i, 6);
      if (trials > 1) {
        const at::Tensor error = std[u][t].mul(2 / std::sqrt(trials));
        series.low = to_vector(average[u][t].sub(error));
        series.high = to_vector(average[u][t].add(error));
      }
      panel.series.push_back(std::move(series));
      Series closed_form{"closed form", {}, {}, {}, {}, "#000000", false, true};
      for (const int64_t d : marked) {
        closed_form.x.push_back(distance.position[static_cast<size_t>(d)]);
        closed_form.y.push_back(expected[u][t][d].item<double>());
      }
      circles.push_back(std::move(closed_form));
    }
    panel.series.insert(panel.series.end(), circles.begin(), circles.end());
    figure.panels.push_back(std::move(panel));
  }
  figure.columns = figure.panels.size() > 1 ? 2 : 1;
  figure.note = joined_notes({drawn_of(figure.panels.size(), theta.numel(), "θ", "theta"),
                              shown.size() < static_cast<size_t>(mean.size(0))
                                  ? fmt::format("{} of {} means drawn", shown.size(), mean.size(0))
                                  : ""});
  return figure;
}

struct Profile {
  at::Tensor distance, mean;  ///< [M], [layers, heads, M]
};

Profile read_profile(const ResultReader& result) {
  Profile profile{read_axes(result, "/profile/distance", 1), read_axes(result, "/profile/mean", 3)};
  read_shaped(result, "/profile/mean",
              {profile.mean.size(0), profile.mean.size(1), profile.distance.size(0)});
  return profile;
}

/// Median head and the middle half of all heads: the spread of a model's heads, not an interval of a mean.
Figure profile_curves(const ResultReader& result, const FigureSelection& selection) {
  const Profile profile = read_profile(result);
  const DistanceAxis distance(profile.distance, selection.max_distance);
  const at::Tensor heads = profile.mean.reshape({-1, profile.distance.size(0)});
  const auto quantile = [&](double q) { return to_vector(at::nanquantile(heads, q, 0)); };
  Panel panel;
  panel.title = fmt::format("median of {} heads; band: the middle half of them", heads.size(0));
  panel.x = distance.axis;
  panel.y.label = "logit of real pairs, q·k (not divided by √d)";
  panel.zero_line = true;
  panel.series.push_back(
      {"", distance.position, quantile(0.5), quantile(0.25), quantile(0.75), "", false, false});
  Figure figure;
  figure.title = "Real token pairs at their real distance";
  figure.note = sources_of(result, "/model");
  figure.panels = {panel};
  figure.panel_height_cm = 9.0;
  return figure;
}

Figure profile_by_layer(const ResultReader& result, const FigureSelection& selection) {
  const Profile profile = read_profile(result);
  const DistanceMap map =
      distance_map(rows_to_unit_peak(profile.mean.nanmean({1})), profile.distance, selection.max_distance);
  Panel panel;
  panel.map = map.map;
  panel.map->label = "q·k / row's largest |q·k|";
  panel.map->limit = 1.0;
  panel.x = map.x;
  panel.y.label = "layer";
  Figure figure;
  figure.title = "Real token pairs at their real distance, mean over the heads of each layer";
  figure.note = sources_of(result, "/model");
  figure.panels = {panel};
  figure.panel_height_cm = 9.0;
  return figure;
}

/// mean_q . mean_k: what all pairs of a head share at distance 0.
Figure moments_map(const ResultReader& result, const FigureSelection&) {
  const at::Tensor q = read_axes(result, "/moments/mean_q", 3);
  const at::Tensor k = read_shaped(result, "/moments/mean_k", q.sizes().vec());
  Panel panel;
  panel.map = HeatMap{};
  panel.map->rows = q.size(0);
  panel.map->columns = q.size(1);
  panel.map->values = to_vector(q.mul(k).sum({-1}));
  panel.map->label = "mean q · mean k (not divided by √d)";
  panel.x.label = "query head";
  panel.y.label = "layer";
  Figure figure;
  figure.title = "Inner product of the mean query and the mean key of each head";
  figure.note = sources_of(result, "/model");
  figure.panels = {panel};
  figure.panel_height_cm = 9.0;
  return figure;
}

template <const char* const... kDatasets>
bool has_all(const ResultReader& result) {
  return (result.has(kDatasets) && ...);
}

constexpr char kDecayMean[] = "/decay/mean", kDecayKinds[] = "/decay/kinds/mean",
               kDecayTokens[] = "/decay/tokens/mean", kDecayByLayer[] = "/decay/by_layer",
               kDecayByHead[] = "/decay/by_head", kDecayBound[] = "/decay/abel_bound",
               kDecayByBand[] = "/decay/band_contribution", kSimulation[] = "/simulation/average",
               kProfile[] = "/profile/mean", kMeanQ[] = "/moments/mean_q", kMeanK[] = "/moments/mean_k",
               kPriorTable[] = "/prior/table/scheme", kPriorRasters[] = "/prior/layout/raster",
               kPriorLengths[] = "/prior/text_lengths", kAttentionTable[] = "/attention/table/scheme",
               kAttentionLengths[] = "/attention/text_lengths", kTrainLoss[] = "/train/loss",
               kLocalityNear[] = "/locality/near_preferred",
               kLocalityKinds[] = "/locality/kinds/near_preferred",
               kLocalityLayers[] = "/locality/by_layer/near_preferred",
               kContextSchemes[] = "/long_context/scheme", kNiahMean[] = "/niah/mean";

const FigureKind& find_kind(const std::string& name, const ResultReader& result) {
  std::vector<std::string> all, fitting;
  for (const FigureKind& kind : figure_kinds()) {
    all.push_back(kind.name);
    if (kind.applies(result)) fitting.push_back(kind.name);
  }
  const std::string can = fitting.empty() ? "no kind of figure" : fmt::format("{}", fmt::join(fitting, ", "));
  for (const FigureKind& kind : figure_kinds()) {
    if (name.empty() ? !kind.applies(result) : kind.name != name) continue;
    if (kind.applies(result)) return kind;
    throw UsageError("--kind {}: {} does not hold it; it holds {}", name, result.path().string(), can);
  }
  if (name.empty())
    throw InputError("{}: holds nothing that a figure can be made of", result.path().string());
  const std::string near = nearest_name(name, all);
  throw UsageError("--kind: unknown kind \"{}\"{}; {} holds {}", name,
                   near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near), result.path().string(),
                   can);
}

}  // namespace

const std::vector<FigureKind>& figure_kinds() {
  static const std::vector<FigureKind> kinds = {
      {"decay", "mean inner product against distance, one curve a theta, 95% bands", has_all<kDecayMean>,
       decay_curves},
      {"by-kind", "mean inner product in each kind of layers, windows marked", has_all<kDecayKinds>,
       decay_by_kind},
      {"by-tokens", "mean inner product by the kinds of token that meet, of texts with pictures",
       has_all<kDecayTokens>, decay_by_tokens},
      {"by-layer", "layer x distance", has_all<kDecayByLayer>, decay_by_layer},
      {"by-head", "head x distance", has_all<kDecayByHead>, decay_by_head},
      {"theta", "theta x distance", has_all<kDecayMean>, decay_by_theta},
      {"bound", "mean inner product under its Abel bound", has_all<kDecayMean, kDecayBound>, decay_bound},
      {"bands", "share of each band of frequencies in the curve", has_all<kDecayByBand>, decay_bands},
      {"locality", "how often near keys are preferred and how often two keys' order flips, against length",
       has_all<kLocalityNear>, locality_curves},
      {"locality-by-kind", "the same in each kind of layers", has_all<kLocalityKinds>, locality_by_kind},
      {"locality-by-layer", "the same, layer x length", has_all<kLocalityLayers>, locality_by_layer},
      {"simulation", "Gaussian simulation against the closed form", has_all<kSimulation>, simulation_curves},
      {"profile", "logit of real pairs at their real distance", has_all<kProfile>, profile_curves},
      {"profile-by-layer", "the same, layer x distance", has_all<kProfile>, profile_by_layer},
      {"moments", "inner product of the mean query and key, layer x head", has_all<kMeanQ, kMeanK>,
       moments_map},
      {"prior-maps", "expected logit from a query onto the thumbnail and the high-resolution tokens",
       has_all<kPriorTable, kPriorRasters>, prior_maps},
      {"prior-fading", "expected share of attention on visual tokens against text length",
       has_all<kPriorTable, kPriorLengths>, prior_fading},
      {"attention-maps", "attention from chosen queries onto the image, scheme by scheme",
       attention_maps_apply, attention_maps},
      {"attention-layers", "attention on visual tokens and on the aligned thumbnail token, layer by layer",
       has_all<kAttentionTable>, attention_layers},
      {"attention-fading", "measured share of attention on visual tokens against text length",
       has_all<kAttentionTable, kAttentionLengths>, attention_fading},
      {"sinks", "attention on corners, layer x head, and on each cell of the picture", sinks_apply,
       sink_maps},
      {"drift", "correlation of two tokens' patterns on the picture, lag x shift", drift_applies, drift_maps},
      {"training", "loss and gradient norm against the step, mean of the last 100", has_all<kTrainLoss>,
       training_curves},
      {"evaluation-fading", "a benchmark's figure and the attention on its pictures against text length",
       has_all<kContextSchemes>, evaluation_fading},
      {"niah-map", "MM-NIAH's accuracy, depth of the needle x length of the context", has_all<kNiahMean>,
       niah_map},
      {"positions", "a layout coloured by position id, one panel a scheme and axis", has_positions,
       position_figure},
  };
  return kinds;
}

std::string plot_result(const std::filesystem::path& result, const std::string& kind,
                        const std::filesystem::path& figure, bool force, const FigureSelection& selection) {
  check_figure_path(figure, force);
  const ResultReader reader(result);
  const FigureKind& chosen = find_kind(kind, reader);
  draw_figure(chosen.make(reader, selection), figure, force);
  return chosen.name;
}

}  // namespace ropescope
