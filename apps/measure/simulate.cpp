// ropescope simulate: random queries and keys with a common mean, against the closed form.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "ropescope/analysis/figures.h"
#include "ropescope/analysis/simulation.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"

#include "command.h"

namespace ropescope::app {

namespace simulate {

namespace {

struct SimulateFlags {
  int64_t dim = 128, trials = 1000, max_distance = 4096;
  std::vector<double> mean = {0, 0.5, 1}, theta = {1e4, 1e7};
  double std = 1, correlation = 0;
  std::optional<std::string> plot;
  std::string output;

  /// Ranges are the library's to check: SimulationOptions::validate names the flags.
  void bind(Flags& flags) {
    flags.group("Simulation: q, k ~ N(mean, std^2) in every channel");
    flags.add("dim", dim, "channels of a head, even");
    flags.add("mean", mean, "means, each simulated on its own");
    flags.add("std", std, "standard deviation of every channel");
    flags.add("correlation", correlation, "of q_i with k_i, -1 to 1");
    flags.add("trials", trials, "independent (q, k) of each mean");
    flags.add("theta", theta, "bases").shown_default("1e4,1e7");
    flags.add("max-distance", max_distance, "distances 0 to M tokens, M included");
    flags.add("plot", plot, "figure: simulation against closed form (.png, .svg or .pdf)");
    flags.add("output", output, "result file, for example simulation.h5").required();
  }
};

SimulationOptions read_options(const SimulateFlags& flags, uint64_t seed) {
  SimulationOptions simulation;
  simulation.head_dim = flags.dim;
  simulation.mean = flags.mean;
  simulation.std = flags.std;
  simulation.correlation = flags.correlation;
  simulation.trials = flags.trials;
  simulation.theta = flags.theta;
  simulation.max_distance = flags.max_distance;
  simulation.seed = seed;
  simulation.validate();
  return simulation;
}

/// 0, the powers of two, and the last distance.
std::vector<int64_t> shown_distances(int64_t max_distance) {
  std::vector<int64_t> shown = {0};
  for (int64_t m = 1; m <= max_distance; m *= 2) shown.push_back(m);
  if (shown.back() != max_distance) shown.push_back(max_distance);
  return shown;
}

struct Row {
  double mean, theta;
  int64_t distance;
  double average, expected, std, variance;
};

/// `all`: every distance, else those that a screen shows.
std::vector<Row> rows_of(const SimulationResult& result, bool all) {
  const int64_t last = result.options.max_distance;
  std::vector<int64_t> distances = shown_distances(last);
  if (all) {
    distances.resize(static_cast<size_t>(last) + 1);
    std::iota(distances.begin(), distances.end(), int64_t{0});
  }
  std::vector<Row> rows;
  const auto at = [](const at::Tensor& values, size_t u, size_t t, int64_t m) {
    return values[static_cast<int64_t>(u)][static_cast<int64_t>(t)][m].item<double>();
  };
  for (size_t u = 0; u < result.options.mean.size(); ++u) {
    for (size_t t = 0; t < result.options.theta.size(); ++t) {
      for (const int64_t m : distances) {
        rows.push_back({result.options.mean[u], result.options.theta[t], m, at(result.average, u, t, m),
                        at(result.expected, u, t, m), at(result.std, u, t, m), at(result.variance, u, t, m)});
      }
    }
  }
  return rows;
}

void print_json(const SimulationResult& result, const std::string& output, double seconds) {
  Json rows = Json::array();
  for (const Row& row : rows_of(result, /*all=*/true)) {
    rows.push_back({{"mean", row.mean},
                    {"theta", row.theta},
                    {"distance", row.distance},
                    {"average", row.average},
                    {"expected", row.expected},
                    {"std", row.std},
                    {"variance", row.variance}});
  }
  const SimulationOptions& options = result.options;
  const Json object = {{"output", output},
                       {"dim", options.head_dim},
                       {"mean", options.mean},
                       {"std", options.std},
                       {"correlation", options.correlation},
                       {"trials", options.trials},
                       {"theta", options.theta},
                       {"max_distance", options.max_distance},
                       {"worst_standard_errors", result.worst_standard_errors},
                       {"seconds", seconds},
                       {"rows", rows}};
  fmt::print("{}\n", object.dump());
}

void print_csv(const SimulationResult& result) {
  fmt::print("mean,theta,distance,average,expected,std,variance\n");
  for (const Row& row : rows_of(result, /*all=*/true)) {
    fmt::print("{},{},{},{:.9g},{:.9g},{:.9g},{:.9g}\n", row.mean, row.theta, row.distance, row.average,
               row.expected, row.std, row.variance);
  }
}

void print_table(const SimulationResult& result, const std::string& output, double seconds) {
  const SimulationOptions& options = result.options;
  fmt::print(
      "q, k ~ N(mean, {:g}^2), {} channels, correlation {:g}, {} trials; inner product at each distance\n",
      options.std, options.head_dim, options.correlation, options.trials);
  fmt::print("spread: standard deviation of one trial; z: (average - expected) in standard errors\n\n");
  fmt::print("{:>8} {:>10} {:>9} {:>12} {:>12} {:>10} {:>6}\n", "mean", "theta", "distance", "average",
             "expected", "spread", "z");
  for (const Row& row : rows_of(result, /*all=*/false)) {
    const double error = std::sqrt(row.variance / static_cast<double>(options.trials));
    const double z = error > 0 ? (row.average - row.expected) / error : 0.0;
    fmt::print("{:>8g} {:>10g} {:>9} {:>12.3f} {:>12.3f} {:>10.3f} {:>6.2f}\n", row.mean, row.theta,
               row.distance, row.average, row.expected, row.std, z);
  }
  fmt::print("\nof {} distances those above are shown; --csv and --json print all", options.max_distance + 1);
  fmt::print("\nlargest deviation over all {} distances: {:.2f} standard errors; {:.3f} s; written to {}\n",
             options.max_distance + 1, result.worst_standard_errors, seconds, output);
}

int run(const SimulateFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  const std::string& output = flags.output;
  const SimulationOptions simulation = read_options(flags, settings.seed);
  if (flags.plot) check_figure_path(*flags.plot, settings.force);
  Provenance provenance = invocation.provenance();
  provenance.device = "cpu";
  provenance.dtype = "float64";
  ResultWriter writer(output, provenance, settings.force);

  const auto start = std::chrono::steady_clock::now();
  const SimulationResult result = ropescope::simulate(simulation);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  write_simulation(writer, "/simulation", result);
  writer.commit();
  if (flags.plot) {
    plot_result(output, "simulation", *flags.plot, settings.force);
    log_info("figure written to {}", *flags.plot);
  }

  if (settings.json) {
    print_json(result, output, seconds);
  } else if (settings.csv) {
    print_csv(result);
  } else {
    print_table(result, output, seconds);
  }
  return 0;
}

}  // namespace

}  // namespace simulate

extern const Command kSimulate;
const Command kSimulate = make_command<simulate::SimulateFlags>(
    "simulate", "Simulates random queries and keys with a common mean beside the closed form.",
    "ropescope simulate --dim 128 --mean 0,0.5,1 --theta 1e4,1e7 --output simulation.h5",
    kThreads | kDraws | kWrites | kTables, simulate::run);

}  // namespace ropescope::app
