// ropescope plot: draws a result file.
#include <cmath>

#include <fmt/format.h>

#include "ropescope/analysis/figures.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

#include "command.h"

namespace ropescope::app {

namespace {

std::vector<po::options_description> options() {
  po::options_description figure("Figure", 110, 55);
  figure.add_options()                                                                                    //
      ("input", po::value<std::vector<std::string>>(), "result file; may stand without the flag's name")  //
      ("output", po::value<std::string>(), "figure.png, .svg or .pdf")                                    //
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
       "attention-maps: over all, heads (one map a layer), layers (one a head), or none");
  return {figure};
}

std::string input_file(const Arguments& arguments) {
  if (arguments.values.count("input") == 0) throw UsageError("expected a result file; see --help");
  const auto files = arguments.get<std::vector<std::string>>("input");
  if (files.size() != 1) throw UsageError("expected one result file, found {}", files.size());
  return files.front();
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
