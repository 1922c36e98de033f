// ropescope positions: where every token of a layout sits under a scheme, and what that means.
#include <memory>
#include <set>

#include <fmt/format.h>

#include "ropescope/analysis/figures_positions.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

#include "command.h"
#include "inputs/position_input.h"
#include "positions/position_output.h"
#include "positions/position_report.h"

namespace ropescope::app {

namespace positions {

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
    placed.push_back(
        {run_title(run, request), *run.layout, run.positions.coordinates, run.scheme->row_names()});
  }
  draw_figure(position_figure(placed), path, force);
  log_info("figure written to {}", path);
}

void print(const std::vector<PositionRun>& runs, const PositionRequest& request, TableStyle style,
           const CommonSettings& settings) {
  if (settings.json) {
    for (const PositionRun& run : runs) fmt::print("{}\n", run_json(run, request).dump());
  } else if (settings.csv) {
    fmt::print("{}", runs_csv(runs, request));
  } else {
    fmt::print("{}", runs_text(runs, request, style));
  }
}

int run(const PositionsFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  if (flags.list) {
    list_schemes(settings.json);
    return 0;
  }
  const PositionRequest request = read_position_request(flags);
  if (request.mask && !settings.json) throw UsageError("--mask: expected --json, where the mask is printed");
  if (flags.plot) check_figure_path(*flags.plot, settings.force);
  std::unique_ptr<ResultWriter> writer;
  if (flags.output) {
    check_names(request);
    Provenance provenance = invocation.provenance();
    provenance.device = "cpu";
    provenance.dtype = "float64";
    if (flags.layout_file) provenance.add_input(*flags.layout_file);
    if (flags.fope_coefficients) provenance.add_input(*flags.fope_coefficients);
    writer =
        std::make_unique<ResultWriter>(required_text(*flags.output, "output"), provenance, settings.force);
  }

  std::vector<PositionRun> runs;
  for (const Layout& layout : request.layouts) {
    for (const Scheme& scheme : request.schemes) runs.push_back(measure_positions(request, scheme, layout));
  }
  if (writer) {
    write_positions(*writer, runs, request);
    writer->commit();
  }
  if (flags.plot) draw(runs, request, *flags.plot, settings.force);
  print(runs, request, flags.markdown ? TableStyle::kMarkdown : TableStyle::kAligned, settings);
  return 0;
}

}  // namespace

}  // namespace positions

extern const Command kPositions;
const Command kPositions = make_command<positions::PositionsFlags>(
    "positions",
    "Says where every token of a layout sits under a position encoding; criteria, misalignment, picture.",
    "ropescope positions --scheme \"vanilla;id-align\" --anyres 24x24+48x48 --criteria --misalignment",
    kThreads | kWrites | kTables, positions::run);

}  // namespace ropescope::app
