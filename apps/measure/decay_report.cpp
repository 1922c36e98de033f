#include "measure/decay_report.h"

#include <cmath>
#include <vector>

#include <fmt/format.h>

#include <ATen/ops/stack.h>

#include "ropescope/core/json.h"
#include "ropescope/core/strings.h"

#include "measure/bases.h"

namespace ropescope::app::decay {

namespace {

/// Indices of the distances that the table shows: 0 and the powers of two; all of a short list.
std::vector<int64_t> shown_distances(const DecayResult& result, bool listed) {
  constexpr int64_t kShortList = 64;
  const int64_t* distance = result.distance.const_data_ptr<int64_t>();
  const int64_t count = result.distance.size(0);
  std::vector<int64_t> shown;
  for (int64_t d = 0; d < count; ++d) {
    const bool round = (distance[d] & (distance[d] - 1)) == 0;
    if (round || (listed && count <= kShortList)) shown.push_back(d);
  }
  return shown;
}

/// [T, D] or [T, K, D] float64, by index; `row` counts through all axes but the last.
double value_at(const at::Tensor& curves, int64_t row, int64_t distance) {
  return curves.const_data_ptr<double>()[row * curves.size(-1) + distance];
}

bool is_scaled(const DecayResult& result) { return result.theta_scale.defined(); }

/// What the columns of bases are counted by.
const at::Tensor& bases(const DecayResult& result) {
  return is_scaled(result) ? result.theta_scale : result.theta;
}

/// The curves of some kinds.
struct Kinds {
  std::vector<std::string> names;
  std::vector<int64_t> counts;
  at::Tensor mean, low, high;  // [T, K, D]

  int64_t size() const { return static_cast<int64_t>(names.size()); }
};

Kinds kinds_of(const DecayResult& result, DecayBy by) {
  Kinds kinds;
  if (by == DecayBy::kLayers) {
    for (const DecayKind& kind : result.kinds) {
      kinds.names.push_back(kind.name);
      kinds.counts.push_back(kind.count);
    }
    kinds.mean = result.kind_mean;
    kinds.low = result.kind_ci95_low;
    kinds.high = result.kind_ci95_high;
  } else if (by == DecayBy::kTokens) {
    std::vector<at::Tensor> mean, low, high;
    for (const DecayTokens& kind : result.tokens) {
      kinds.names.push_back(kind.name);
      kinds.counts.push_back(kind.count);
      mean.push_back(kind.mean);
      low.push_back(kind.low);
      high.push_back(kind.high);
    }
    kinds.mean = at::stack(mean, 1);
    kinds.low = at::stack(low, 1);
    kinds.high = at::stack(high, 1);
  } else {
    kinds.names.emplace_back();
    kinds.counts.push_back(result.count_behind);
    kinds.mean = result.mean.unsqueeze(1);
    kinds.low = result.ci95_low.unsqueeze(1);
    kinds.high = result.ci95_high.unsqueeze(1);
  }
  return kinds;
}

/// A column of the table.
struct Curve {
  std::string heading;
  at::Tensor mean, low, high;  // [D]
};

std::vector<Curve> curves_of(const DecayResult& result, DecayBy by) {
  std::vector<Curve> curves;
  const Kinds kinds = kinds_of(result, by);
  for (int64_t t = 0; t < result.theta.size(0); ++t) {
    for (int64_t k = 0; k < kinds.size(); ++k) {
      const std::string& name = kinds.names[static_cast<size_t>(k)];
      const std::string base =
          result.theta.size(0) > 1 ? ", " + base_text(result.theta, result.theta_scale, t) : "";
      curves.push_back({by == DecayBy::kTheta ? base_text(result.theta, result.theta_scale, t) : name + base,
                        kinds.mean[t][k], kinds.low[t][k], kinds.high[t][k]});
    }
  }
  return curves;
}

Json tokens_json(const DecayResult& result) {
  Json kinds = Json::array();
  for (const DecayTokens& kind : result.tokens) {
    kinds.push_back({{"name", kind.name}, {"count", kind.count}, {"clusters", kind.clusters}});
  }
  return kinds;
}

}  // namespace

void print_json(const DecayResult& result, DecayBy by, const std::string& output, double seconds) {
  Json rows = Json::array();
  const auto column = [](const at::Tensor& values, int64_t d) {
    Json list = Json::array();
    for (int64_t t = 0; t < values.size(0); ++t) list.push_back(value_at(values, t, d));
    return list;
  };
  const auto table = [&](const at::Tensor& values, int64_t d) {  // [theta][kind]
    Json list = Json::array();
    for (int64_t t = 0; t < values.size(0); ++t) list.push_back(column(values[t], d));
    return list;
  };
  const Kinds shown = kinds_of(result, by);
  for (int64_t d = 0; d < result.distance.size(0); ++d) {
    Json row = {{"distance", result.distance.const_data_ptr<int64_t>()[d]},
                {"mean", column(result.mean, d)},
                {"ci95_low", column(result.ci95_low, d)},
                {"ci95_high", column(result.ci95_high, d)}};
    if (by != DecayBy::kTheta) {
      row[by == DecayBy::kLayers ? "by_kind" : "by_tokens"] = {{"mean", table(shown.mean, d)},
                                                               {"ci95_low", table(shown.low, d)},
                                                               {"ci95_high", table(shown.high, d)}};
    }
    rows.push_back(std::move(row));
  }
  Json object = {{"output", output},
                 {"theta", list_of(result.theta)},
                 {"theta_source", theta_source(result.options)},
                 {"encoding", result.options.pope ? "pope" : "rope"},
                 {"sign", static_cast<int>(result.options.sign)},
                 {"source", result.options.source == SampleSource::kPairs ? "pairs" : "moments"},
                 {"resampled", result.options.resampled},
                 {"interval", result.interval},
                 {"clusters", result.clusters},
                 {"count", result.count_behind},
                 {"selection", result.options.selection},
                 {"distances", result.distance.size(0)},
                 {"curve_seconds", seconds},
                 {"notes", result.notes},
                 {"kinds", kinds_json(result.kinds, result.kind_theta)},
                 {"tokens", tokens_json(result)},
                 {"rows", rows}};
  if (is_scaled(result)) object["theta_scale"] = list_of(result.theta_scale);
  fmt::print("{}\n", object.dump());
}

void print_csv(const DecayResult& result, DecayBy by) {
  const char* base = is_scaled(result) ? "theta_scale" : "theta";
  const bool named = by != DecayBy::kTheta;
  fmt::print("distance,{}{},mean,ci95_low,ci95_high,count\n", base, named ? ",kind" : "");
  const Kinds all = kinds_of(result, by);
  const int64_t kinds = all.size();
  for (int64_t d = 0; d < result.distance.size(0); ++d) {
    for (int64_t row = 0; row < result.theta.size(0) * kinds; ++row) {
      const auto kind = static_cast<size_t>(row % kinds);
      fmt::print("{},{}{},{:.9g},{:.9g},{:.9g},{}\n", result.distance.const_data_ptr<int64_t>()[d],
                 bases(result)[row / kinds].item<double>(), named ? ",\"" + all.names[kind] + "\"" : "",
                 value_at(all.mean, row, d), value_at(all.low, row, d), value_at(all.high, row, d),
                 all.counts[kind]);
    }
  }
}

void print_table(const DecayResult& result, DecayBy by, bool all) {
  const bool causal = result.options.sign == DecaySign::kCausal;
  fmt::print("mean {} (not divided by sqrt(head_dim)), {}\n",
             result.options.pope ? "score of PoPE, softplus(q) with softplus(k)" : "inner product of q and k",
             causal ? "key m tokens before the query" : "key m tokens after the query (the paper's sign)");
  fmt::print("{}\n", result.options.resampled ? "the model was run anew under each theta"
                                              : "q and k were sampled once and serve every theta");
  if (!result.options.selection.empty()) fmt::print("of the samples only: {}\n", result.options.selection);
  if (by == DecayBy::kLayers) print_kinds(result.kinds, result.kind_theta);
  if (by == DecayBy::kTokens) {
    fmt::print("query to key, both as far apart on every axis of their position ids\n");
  }
  for (const DecayTokens& kind : result.tokens) {
    if (by == DecayBy::kTokens)
      fmt::print("{}: {}, {}\n", kind.name, counted(kind.count, "pair"), counted(kind.clusters, "text"));
  }
  fmt::print("intervals: {}; {}\n\n{:>9}", result.interval, counted(result.clusters, "text"), "distance");
  const std::vector<Curve> curves = curves_of(result, by);
  for (const Curve& curve : curves) fmt::print("  {:>25}", curve.heading);
  fmt::print("\n");
  const std::vector<int64_t> shown = shown_distances(result, all);
  for (const int64_t d : shown) {
    fmt::print("{:>9}", result.distance[d].item<int64_t>());
    for (const Curve& curve : curves) {
      const double low = curve.low[d].item<double>();
      const std::string interval =
          std::isnan(low) ? "" : fmt::format(" [{:.2f}, {:.2f}]", low, curve.high[d].item<double>());
      fmt::print("  {:>25}", fmt::format("{:.2f}{}", curve.mean[d].item<double>(), interval));
    }
    fmt::print("\n");
  }
  const int64_t distances = result.distance.size(0);
  if (static_cast<int64_t>(shown.size()) < distances) {
    fmt::print("\n{} of {} distances are shown; --csv and --json print all\n", shown.size(), distances);
  }
}

}  // namespace ropescope::app::decay
