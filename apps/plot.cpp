// ropescope plot: draws a result file.
#include <cmath>
#include <filesystem>
#include <sstream>

#include <fmt/format.h>

#include "ropescope/analysis/figures.h"
#include "ropescope/analysis/figures_evaluation.h"
#include "ropescope/analysis/figures_training.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

#include "command.h"

namespace ropescope::app {

namespace {

std::vector<po::options_description> options() {
  po::options_description figure("Figure", 110, 55);
  figure.add_options()  //
      ("input", po::value<std::vector<std::string>>(),
       "result file, or the folder of evaluate or of a training run; may stand without the flag's name; "
       "several "
       "of training, or of evaluate over text lengths")                 //
      ("output", po::value<std::string>(), "figure.png, .svg or .pdf")  //
      ("kind", po::value<std::string>()->default_value(""),
       "kind of figure; the file's first unless given")                                                  //
      ("list", po::bool_switch(), "list the kinds, with a file those that it holds, and stop")           //
      ("theta", po::value<std::string>(), "only these bases")                                            //
      ("layers", po::value<std::string>(), "only these layers (by-layer, by-head), for example 0-3,31")  //
      ("max-distance", po::value<double>(), "only distances up to this one, tokens")                     //
      ("heads", po::value<std::string>(), "only these query heads (attention-maps)")                     //
      ("queries", po::value<std::string>()->default_value(""),
       "attention-maps: the set that looks, for example region")  //
      ("average", po::value<std::string>()->default_value("all"),
       "attention-maps: over all, heads (one map a layer), layers (one a head), or none")  //
      ("labels", po::value<std::string>(),
       "names of several runs, separated by commas; default: folders")  //
      ("window", po::value<int64_t>()->default_value(kTrainingWindow),
       "training: steps that a curve is smoothed over");
  return {figure};
}

std::string input_file(const Arguments& arguments) {
  if (arguments.values.count("input") == 0) throw UsageError("expected a result file; see --help");
  const auto files = arguments.get<std::vector<std::string>>("input");
  if (files.size() != 1) throw UsageError("expected one result file, found {}", files.size());
  return evaluation_file(files.front());
}

/// The kind of a figure of several runs, or of one that asks for what only training has; else empty.
std::string kind_of_runs(const Arguments& arguments) {
  if (arguments.values.count("input") == 0) return "";
  const auto files = arguments.get<std::vector<std::string>>("input");
  const bool several = files.size() > 1 || arguments.has("labels");
  if (several && is_fading_run(files.front())) return "evaluation-fading";
  const bool folder = std::filesystem::is_directory(evaluation_file(files.front()));
  return several || folder || arguments.has("window") ? "training" : "";
}

/// A run is called by its folder, which holds curves.h5 or result.h5.
std::string run_label(const std::filesystem::path& given) {
  const std::filesystem::path file =
      std::filesystem::absolute(evaluation_file(training_file(given))).lexically_normal();
  const bool usual = file.filename() == "curves.h5" || file.filename() == "result.h5";
  return usual ? file.parent_path().filename().string() : file.stem().string();
}

int plot_runs(const Arguments& arguments, const CommonSettings& settings, const std::string& kind) {
  const auto files = arguments.get<std::vector<std::string>>("input");
  const std::string output = required_text(arguments, "output");
  if (arguments.has("kind") && arguments.get<std::string>("kind") != kind) {
    throw UsageError(
        "expected one result file, found {}; only the kinds training and evaluation-fading draw several",
        files.size());
  }
  std::vector<std::string> labels;
  if (arguments.has("labels")) {
    std::stringstream stream(arguments.get<std::string>("labels"));
    for (std::string label; std::getline(stream, label, ',');) labels.push_back(label);
    if (labels.size() != files.size()) {
      throw UsageError("--labels: expected {} names, found {}", files.size(), labels.size());
    }
  }
  check_figure_path(output, settings.force);
  std::vector<TrainingRunFile> trained;
  std::vector<FadingRunFile> asked;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string label = labels.empty() ? run_label(files[i]) : labels[i];
    if (kind == "training") {
      trained.push_back({label, files[i]});
    } else {
      asked.push_back({label, evaluation_file(files[i])});
    }
  }
  const Figure figure =
      kind == "training" ? training_figure(trained, arguments.get<int64_t>("window")) : fading_figure(asked);
  draw_figure(figure, output, settings.force);
  if (settings.json) {
    fmt::print("{}\n", Json({{"input", files}, {"output", output}, {"kind", kind}}).dump());
  } else {
    fmt::print("{} of {} runs drawn: {}\n", kind, files.size(), output);
  }
  return 0;
}

int list_kinds(const Arguments& arguments, bool json) {
  Json listed = Json::array();
  const bool all = arguments.values.count("input") == 0;
  const auto print = [&](const FigureKind& kind) {
    if (json) {
      listed.push_back({{"kind", kind.name}, {"summary", kind.summary}});
    } else {
      fmt::print("{:<18}{}\n", kind.name, kind.summary);
    }
  };
  if (all) {
    for (const FigureKind& kind : figure_kinds()) print(kind);
  } else {
    const ResultReader reader(input_file(arguments));
    for (const FigureKind& kind : figure_kinds()) {
      if (kind.applies(reader)) print(kind);
    }
  }
  if (json) fmt::print("{}\n", listed.dump());
  return 0;
}

int run(const Arguments& arguments) {
  const CommonSettings settings = common_settings(arguments);
  if (arguments.flag("list")) return list_kinds(arguments, settings.json);
  if (const std::string kind = kind_of_runs(arguments); !kind.empty()) {
    return plot_runs(arguments, settings, kind);
  }
  const std::string input = input_file(arguments), output = required_text(arguments, "output");
  FigureSelection selection;
  if (arguments.has("theta"))
    selection.theta = parse_number_list(arguments.get<std::string>("theta"), "theta");
  if (arguments.has("layers"))
    selection.layers = parse_integer_list(arguments.get<std::string>("layers"), "layers");
  if (arguments.has("heads")) {
    selection.heads = parse_integer_list(arguments.get<std::string>("heads"), "heads");
  }
  selection.queries = arguments.get<std::string>("queries");
  selection.average = arguments.get<std::string>("average");
  if (arguments.has("max-distance")) {
    selection.max_distance = arguments.get<double>("max-distance");
    if (!(*selection.max_distance > 0)) throw UsageError("--max-distance: expected a number above 0");
  }
  const std::string kind =
      plot_result(input, arguments.get<std::string>("kind"), output, settings.force, selection);
  if (settings.json) {
    fmt::print("{}\n", Json({{"input", input}, {"output", output}, {"kind", kind}}).dump());
  } else if (settings.csv) {
    throw UsageError("--csv: plot writes a figure, not a table");
  } else {
    fmt::print("{} of {} drawn: {}\n", kind, input, output);
  }
  return 0;
}

}  // namespace

extern const Command kPlot;
const Command kPlot{"plot", "Draws what a result file holds as PNG, SVG or PDF.",
                    "ropescope plot decay.h5 --output decay.png --kind by-layer", options, run};

}  // namespace ropescope::app
