// ropescope positions: where every token of a layout sits under a scheme, and what that means.
#include <memory>
#include <set>

#include <fmt/format.h>

#include "ropescope/analysis/figures_positions.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

#include "position_input.h"
#include "position_output.h"
#include "position_report.h"

namespace ropescope::app {

namespace {

/// Result paths and figures would mix up two layouts or two schemes of one name.
void check_names(const PositionRequest& request) {
  std::set<std::string> seen;
  for (const Layout& layout : request.layouts) {
    if (!seen.insert(layout.name).second) {
      throw UsageError("--output: expected layouts with different names, found \"{}\" twice", layout.name);
    }
  }
  seen.clear();
  for (const Scheme& scheme : request.schemes) {
    if (!seen.insert(scheme.text()).second) {
      throw UsageError("--scheme: expected different schemes, found \"{}\" twice", scheme.text());
    }
  }
}

void draw(const std::vector<PositionRun>& runs, const PositionRequest& request, const std::string& path,
          bool force) {
  std::vector<PlacedLayout> placed;
  for (const PositionRun& run : runs) {
    placed.push_back({run_title(run, request), *run.layout, run.positions.coordinates});
  }
  draw_figure(position_figure(placed), path, force);
  log_info("figure written to {}", path);
}

void print(const std::vector<PositionRun>& runs, const PositionRequest& request, const Arguments& arguments,
           const CommonSettings& settings) {
  if (settings.json) {
    for (const PositionRun& run : runs) fmt::print("{}\n", run_json(run, request).dump());
  } else if (settings.csv) {
    fmt::print("{}", runs_csv(runs, request));
  } else {
    fmt::print("{}", runs_text(runs, request,
                               arguments.flag("markdown") ? TableStyle::kMarkdown : TableStyle::kAligned));
  }
}

int run(const Arguments& arguments) {
  const CommonSettings settings = common_settings(arguments);
  if (arguments.flag("list")) {
    list_schemes(settings.json);
    return 0;
  }
  const PositionRequest request = read_position_request(arguments);
  if (request.mask && !settings.json) throw UsageError("--mask: expected --json, where the mask is printed");
  if (arguments.has("plot")) check_figure_path(arguments.get<std::string>("plot"), settings.force);
  std::unique_ptr<ResultWriter> writer;
  if (arguments.has("output")) {
    check_names(request);
    Provenance provenance = make_provenance(arguments, settings);
    provenance.device = "cpu";
    provenance.dtype = "float64";
    if (arguments.has("layout-file")) provenance.add_input(arguments.get<std::string>("layout-file"));
    writer = std::make_unique<ResultWriter>(required_text(arguments, "output"), provenance, settings.force);
  }

  std::vector<PositionRun> runs;
  for (const Layout& layout : request.layouts) {
    for (const Scheme& scheme : request.schemes) runs.push_back(measure_positions(request, scheme, layout));
  }
  if (writer) {
    write_positions(*writer, runs, request);
    writer->commit();
  }
  if (arguments.has("plot")) draw(runs, request, arguments.get<std::string>("plot"), settings.force);
  print(runs, request, arguments, settings);
  return 0;
}

}  // namespace

extern const Command kPositions;
const Command kPositions{
    "positions",
    "Where every token of a layout sits under a position encoding; criteria, misalignment, picture.",
    "ropescope positions --scheme \"vanilla;id-align\" --anyres 24x24+48x48 --criteria --misalignment",
    position_options, run};

}  // namespace ropescope::app
