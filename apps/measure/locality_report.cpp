#include "measure/locality_report.h"

#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "ropescope/core/json.h"
#include "ropescope/core/strings.h"

#include "measure/bases.h"

namespace ropescope::app::locality {

namespace {

/// One of the two probabilities over the columns that are shown.
struct Shown {
  at::Tensor mean, low, high;  // [T, N, columns of a theta]
  at::Tensor half;             // [T, columns of a theta]
};

Shown shown_of(const LocalityShare& share, bool by_kind) {
  if (by_kind) return {share.kind_mean, share.kind_low, share.kind_high, share.kind_half_length};
  return {share.mean.unsqueeze(2), share.low.unsqueeze(2), share.high.unsqueeze(2),
          share.half_length.unsqueeze(1)};
}

std::vector<std::string> headings(const LocalityResult& result, bool by_kind) {
  std::vector<std::string> all;
  for (int64_t t = 0; t < result.theta.size(0); ++t) {
    const std::string base = base_text(result.theta, result.theta_scale, t);
    if (!by_kind) all.push_back(base);
    for (size_t k = 0; by_kind && k < result.kinds.size(); ++k) {
      all.push_back(result.kinds[k].name + (result.theta.size(0) > 1 ? ", " + base : ""));
    }
  }
  return all;
}

void print_share(const LocalityResult& result, const char* heading, const Shown& shown, bool by_kind) {
  fmt::print("\n{:>14}", heading);
  for (const std::string& column : headings(result, by_kind)) fmt::print("  {:>25}", column);
  const int64_t columns = shown.half.size(1);
  for (int64_t n = 0; n < result.length.size(0); ++n) {
    fmt::print("\n{:>14}", result.length[n].item<int64_t>());
    for (int64_t c = 0; c < result.theta.size(0) * columns; ++c) {
      const auto value = [&](const at::Tensor& of) { return of[c / columns][n][c % columns].item<double>(); };
      const std::string interval =
          std::isnan(value(shown.low))
              ? ""
              : fmt::format(" [{:.4f}, {:.4f}]", value(shown.low), value(shown.high));
      fmt::print("  {:>25}", fmt::format("{:.4f}{}", value(shown.mean), interval));
    }
  }
  fmt::print("\n{:>14}", "reaches 1/2");
  for (const double half : list_of(shown.half.contiguous())) {
    fmt::print("  {:>25}", std::isnan(half) ? "-" : fmt::format("{:.0f}", half));
  }
  fmt::print("\n");
}

/// Of a share at length n, by theta and, in each, by kind.
Json row_json(const LocalityShare& share, const char* name, const char* ends, int64_t n) {
  const auto column = [&](const at::Tensor& values) { return list_of(values.select(1, n).contiguous()); };
  const std::string low = fmt::format("{}_ci95_low", ends), high = fmt::format("{}_ci95_high", ends);
  Json row = {{name, column(share.mean)}, {low, column(share.low)}, {high, column(share.high)}};
  if (!share.kind_mean.defined()) return row;
  const auto table = [&](const at::Tensor& values) {
    Json list = Json::array();
    for (int64_t t = 0; t < values.size(0); ++t) list.push_back(list_of(values[t][n].contiguous()));
    return list;
  };
  row["by_kind"] = {
      {name, table(share.kind_mean)}, {low, table(share.kind_low)}, {high, table(share.kind_high)}};
  return row;
}

}  // namespace

void print_json(const LocalityResult& result, const std::string& output, double seconds) {
  const LocalityShare& near = result.near;
  const LocalityShare& order = result.order;
  Json rows = Json::array();
  for (int64_t n = 0; n < result.length.size(0); ++n) {
    Json row = {{"length", result.length[n].item<int64_t>()}, {"points", result.points[n].item<int64_t>()}};
    row.merge_patch(row_json(near, "near_preferred", "near", n));
    row.merge_patch(row_json(order, "order_flips", "order", n));
    rows.push_back(std::move(row));
  }
  Json object = {{"output", output},
                 {"theta", list_of(result.theta)},
                 {"theta_source", theta_source(result.options)},
                 {"sign", -1},
                 {"chance", 0.5},
                 {"interval", result.interval},
                 {"clusters", near.clusters},
                 {"near_count", near.pairs},
                 {"order_count", order.pairs},
                 {"near_half_length", list_of(near.half_length)},
                 {"order_half_length", list_of(order.half_length)},
                 {"selection", result.options.selection},
                 {"count_seconds", seconds},
                 {"notes", result.notes},
                 {"kinds", kinds_json(result.kinds, result.kind_theta)},
                 {"rows", rows}};
  if (result.theta_scale.defined()) object["theta_scale"] = list_of(result.theta_scale);
  fmt::print("{}\n", object.dump());
}

void print_csv(const LocalityResult& result, bool by_kind) {
  const bool scaled = result.theta_scale.defined();
  const std::vector<double> bases = list_of(scaled ? result.theta_scale : result.theta);
  fmt::print(
      "length,{}{},near_preferred,near_ci95_low,near_ci95_high,order_flips,order_ci95_low,order_ci95_high\n",
      scaled ? "theta_scale" : "theta", by_kind ? ",kind" : "");
  const Shown near = shown_of(result.near, by_kind), order = shown_of(result.order, by_kind);
  for (int64_t n = 0; n < result.length.size(0); ++n) {
    for (size_t t = 0; t < bases.size(); ++t) {
      for (int64_t k = 0; k < near.half.size(1); ++k) {
        fmt::print("{},{}", result.length[n].item<int64_t>(), bases[t]);
        if (by_kind) fmt::print(",\"{}\"", result.kinds[static_cast<size_t>(k)].name);
        for (const Shown* share : {&near, &order}) {
          for (const at::Tensor& values : {share->mean, share->low, share->high}) {
            fmt::print(",{:.9g}", values[static_cast<int64_t>(t)][n][k].item<double>());
          }
        }
        fmt::print("\n");
      }
    }
  }
}

void print_table(const LocalityResult& result, bool by_kind) {
  fmt::print(
      "near: how often a key scores more than a copy of it farther away; flips: how often two keys at one place\n"
      "change their order when both are moved (the key is 0 to length - 1 tokens before the query; chance: 1/2)\n");
  const int64_t most = result.options.points;
  if (most > 0 && result.options.lengths.back() > most) {
    fmt::print(
        "distances: all up to {}, beyond that one drawn in each of {} equal parts, anew for every text\n",
        most, most);
  }
  if (!result.options.selection.empty()) fmt::print("of the samples only: {}\n", result.options.selection);
  if (by_kind) print_kinds(result.kinds, result.kind_theta);
  fmt::print("{} of {}, {} with a second key\n", counted(result.near.pairs, "pair"),
             counted(result.near.clusters, "text"), result.order.pairs);
  fmt::print("intervals: {}\n", result.interval);
  print_share(result, "near, length", shown_of(result.near, by_kind), by_kind);
  print_share(result, "flips, length", shown_of(result.order, by_kind), by_kind);
  fmt::print(
      "\nreaches 1/2: the smallest of these lengths whose interval does, near from above, flips from below (a longer one may "
      "lie beyond); -: none\n");
}

}  // namespace ropescope::app::locality
