// ropescope simulate: random queries and keys with a common mean, against the closed form.
#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include "ropescope/analysis/figures.h"
#include "ropescope/analysis/simulation.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"

#include "command.h"

namespace ropescope::app {

namespace {

std::vector<po::options_description> options() {
  po::options_description model("Simulation: q, k ~ N(mean, std^2) in every channel", 110, 55);
  model.add_options()                                                                                     //
      ("dim", po::value<int64_t>()->default_value(128), "channels of a head, even")                       //
      ("mean", po::value<std::string>()->default_value("0,0.5,1"), "means, each simulated on its own")    //
      ("std", po::value<double>()->default_value(1), "standard deviation of every channel")               //
      ("correlation", po::value<double>()->default_value(0), "of q_i with k_i, -1 to 1")                  //
      ("trials", po::value<int64_t>()->default_value(1000), "independent (q, k) of each mean")            //
      ("theta", po::value<std::string>()->default_value("1e4,1e7"), "bases")                              //
      ("max-distance", po::value<int64_t>()->default_value(4096), "distances 0 to M tokens, M included")  //
      ("plot", po::value<std::string>(), "figure: simulation against closed form (.png, .svg or .pdf)")   //
      ("output", po::value<std::string>(), "result file, for example simulation.h5");
  return {model};
}

SimulationOptions read_options(const Arguments& arguments, const CommonSettings& settings) {
  SimulationOptions simulation;
  simulation.head_dim = arguments.get<int64_t>("dim");
  simulation.mean = parse_number_list(arguments.get<std::string>("mean"), "mean");
  simulation.std = arguments.get<double>("std");
  simulation.correlation = arguments.get<double>("correlation");
  simulation.trials = arguments.get<int64_t>("trials");
  simulation.theta = parse_number_list(arguments.get<std::string>("theta"), "theta");
  simulation.max_distance = arguments.get<int64_t>("max-distance");
  simulation.seed = settings.seed;
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

std::vector<Row> rows_of(const SimulationResult& result) {
  std::vector<Row> rows;
  const auto at = [](const at::Tensor& values, size_t u, size_t t, int64_t m) {
    return values[static_cast<int64_t>(u)][static_cast<int64_t>(t)][m].item<double>();
  };
  for (size_t u = 0; u < result.options.mean.size(); ++u) {
    for (size_t t = 0; t < result.options.theta.size(); ++t) {
      for (const int64_t m : shown_distances(result.options.max_distance)) {
        rows.push_back({result.options.mean[u], result.options.theta[t], m, at(result.average, u, t, m),
                        at(result.expected, u, t, m), at(result.std, u, t, m), at(result.variance, u, t, m)});
      }
    }
  }
  return rows;
}

void print_json(const SimulationResult& result, const std::string& output, double seconds) {
  Json rows = Json::array();
  for (const Row& row : rows_of(result)) {
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
  for (const Row& row : rows_of(result)) {
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
  for (const Row& row : rows_of(result)) {
    const double error = std::sqrt(row.variance / static_cast<double>(options.trials));
    const double z = error > 0 ? (row.average - row.expected) / error : 0.0;
    fmt::print("{:>8g} {:>10g} {:>9} {:>12.3f} {:>12.3f} {:>10.3f} {:>6.2f}\n", row.mean, row.theta,
               row.distance, row.average, row.expected, row.std, z);
  }
  fmt::print("\nlargest deviation over all {} distances: {:.2f} standard errors; {:.3f} s; written to {}\n",
             options.max_distance + 1, result.worst_standard_errors, seconds, output);
}

int run(const Arguments& arguments) {
  const CommonSettings settings = common_settings(arguments);
  const std::string output = required_text(arguments, "output");
  const SimulationOptions simulation = read_options(arguments, settings);
  if (arguments.has("plot")) check_figure_path(arguments.get<std::string>("plot"), settings.force);
  Provenance provenance = make_provenance(arguments, settings);
  provenance.device = "cpu";
  provenance.dtype = "float64";
  ResultWriter writer(output, provenance, settings.force);

  const auto start = std::chrono::steady_clock::now();
  const SimulationResult result = simulate(simulation);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  write_simulation(writer, "/simulation", result);
  writer.commit();
  if (arguments.has("plot")) {
    const std::string figure = arguments.get<std::string>("plot");
    plot_result(output, "simulation", figure, settings.force);
    log_info("figure written to {}", figure);
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

extern const Command kSimulate;
const Command kSimulate{
    "simulate", "Simulates random queries and keys with a common mean beside the closed form.",
    "ropescope simulate --dim 128 --mean 0,0.5,1 --theta 1e4,1e7 --output simulation.h5", options, run};

}  // namespace ropescope::app
