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
#include "ropescope/core/log.h"
#include "ropescope/core/strings.h"

#include "command.h"

namespace ropescope::app {

namespace plot {

namespace {

struct PlotFlags {
  std::vector<std::string> input;
  std::string output, kind, queries, average = "all";  // kind, queries: empty unless given
  bool list = false;
  std::vector<double> theta;           // empty: all
  std::vector<int64_t> layers, heads;  // empty: all
  std::optional<double> max_distance;
  std::optional<std::string> labels;
  std::optional<int64_t> window;

  void bind(Flags& flags) {
    flags.group("Figure");
    flags
        .add(
            "input", input,
            "result file, or the folder of evaluate or of a training run; may stand without the flag's name; several of training, or of evaluate over text lengths")
        .positional();
    flags.add("output", output, "figure.png, .svg or .pdf");
    flags.add("kind", kind, "kind of figure; the file's first unless given");
    flags.add("list", list, "list the kinds, with a file those that it holds, and stop");
    flags.add("theta", theta, "only these bases");
    flags.add("layers", layers, "only these layers (by-layer, by-head), for example 0-3,31");
    flags.add("max-distance", max_distance, "only distances up to this one, tokens").above(0);
    flags.add("heads", heads, "only these query heads (attention-maps)");
    flags.add("queries", queries, "attention-maps: the set that looks, for example region");
    flags
        .add("average", average,
             "attention-maps: over all, heads (one map a layer), layers (one a head), or none")
        .one_of({"all", "heads", "layers", "none"});
    flags.add("labels", labels, "names of several runs, separated by commas; default: folders");
    flags.add("window", window, "training: steps that a curve is smoothed over")
        .shown_default(std::to_string(kTrainingWindow));
  }
};

std::string input_file(const std::vector<std::string>& files) {
  if (files.empty()) throw UsageError("expected a result file; see --help");
  if (files.size() != 1) throw UsageError("expected one result file, found {}", files.size());
  return evaluation_file(files.front());
}

/// The kind of a figure of several runs, or of one that asks for what only training has; else empty.
std::string kind_of_runs(const PlotFlags& flags) {
  if (flags.input.empty()) return "";
  const bool several = flags.input.size() > 1 || flags.labels;
  if (several && is_fading_run(flags.input.front())) return "evaluation-fading";
  const bool folder = std::filesystem::is_directory(evaluation_file(flags.input.front()));
  return several || folder || flags.window ? "training" : "";
}

/// A run is called by its folder, which holds curves.h5 or result.h5.
std::string run_label(const std::filesystem::path& given) {
  const std::filesystem::path file =
      std::filesystem::absolute(evaluation_file(training_file(given))).lexically_normal();
  const bool usual = file.filename() == "curves.h5" || file.filename() == "result.h5";
  return usual ? file.parent_path().filename().string() : file.stem().string();
}

std::vector<std::string> run_labels(const PlotFlags& flags) {
  std::vector<std::string> labels;
  if (!flags.labels) {
    for (const std::string& file : flags.input) labels.push_back(run_label(file));
    return labels;
  }
  std::stringstream stream(*flags.labels);
  for (std::string label; std::getline(stream, label, ',');) labels.push_back(label);
  if (labels.size() != flags.input.size()) {
    throw UsageError("--labels: expected {} names, found {}", flags.input.size(), labels.size());
  }
  return labels;
}

int plot_runs(const PlotFlags& flags, const CommonSettings& settings, const std::string& kind) {
  const std::vector<std::string>& files = flags.input;
  const std::string& output = required_text(flags.output, "output");
  if (!flags.kind.empty() && flags.kind != kind) {
    throw UsageError(
        "expected one result file, found {}; only the kinds training and evaluation-fading draw several",
        files.size());
  }
  const std::vector<std::string> labels = run_labels(flags);
  check_figure_path(output, settings.force);
  std::vector<TrainingRunFile> trained;
  std::vector<FadingRunFile> asked;
  for (size_t i = 0; i < files.size(); ++i) {
    if (kind == "training") {
      trained.push_back({labels[i], files[i]});
    } else {
      asked.push_back({labels[i], evaluation_file(files[i])});
    }
  }
  const Figure figure = kind == "training" ? training_figure(trained, flags.window.value_or(kTrainingWindow))
                                           : fading_figure(asked);
  draw_figure(figure, output, settings.force);
  if (settings.json) {
    fmt::print("{}\n", Json({{"input", files}, {"output", output}, {"kind", kind}}).dump());
  } else {
    fmt::print("{} of {} drawn: {}\n", kind, counted(static_cast<int64_t>(files.size()), "run"), output);
  }
  return 0;
}

int list_kinds(const std::vector<std::string>& files, bool json) {
  Json listed = Json::array();
  const auto print = [&](const FigureKind& kind) {
    if (json) {
      listed.push_back({{"kind", kind.name}, {"summary", kind.summary}});
    } else {
      fmt::print("{:<18}{}\n", kind.name, kind.summary);
    }
  };
  if (files.empty()) {
    for (const FigureKind& kind : figure_kinds()) print(kind);
  } else {
    const ResultReader reader(input_file(files));
    bool any = false;
    for (const FigureKind& kind : figure_kinds()) {
      if (!kind.applies(reader)) continue;
      print(kind);
      any = true;
    }
    if (!any) {
      log_warning("{}: holds nothing that a figure can be made of; `ropescope dump` lists what it holds",
                  reader.path().string());
    }
  }
  if (json) fmt::print("{}\n", listed.dump());
  return 0;
}

int run(const PlotFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  if (flags.list) return list_kinds(flags.input, settings.json);
  if (const std::string kind = kind_of_runs(flags); !kind.empty()) return plot_runs(flags, settings, kind);
  const std::string input = input_file(flags.input);
  const std::string& output = required_text(flags.output, "output");
  if (settings.csv) throw UsageError("--csv: plot writes a figure, not a table");
  FigureSelection selection;
  selection.theta = flags.theta;
  selection.layers = flags.layers;
  selection.heads = flags.heads;
  selection.queries = flags.queries;
  selection.average = flags.average;
  selection.max_distance = flags.max_distance;
  const std::string kind = plot_result(input, flags.kind, output, settings.force, selection);
  if (settings.json) {
    fmt::print("{}\n", Json({{"input", input}, {"output", output}, {"kind", kind}}).dump());
  } else {
    fmt::print("{} of {} drawn: {}\n", kind, input, output);
  }
  return 0;
}

}  // namespace

}  // namespace plot

extern const Command kPlot;
const Command kPlot = make_command<plot::PlotFlags>(
    "plot", "Draws what a result file holds as PNG, SVG or PDF.",
    "ropescope plot decay.h5 --output decay.png --kind by-layer", kWrites | kJson, plot::run);

}  // namespace ropescope::app
