// ropescope-miniature table: what the runs say together.
#include "miniature/table.h"

#include <filesystem>
#include <iostream>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

#include "miniature/comparisons.h"
#include "miniature/compression_table.h"
#include "miniature/gain.h"
#include "miniature/gaze_table.h"
#include "miniature/interactions.h"
#include "step.h"

namespace ropescope::miniature {

namespace {

namespace fs = std::filesystem;
using app::Flags;

struct TableFlags {
  std::string results, output;
  std::string baseline;
  double theta = 1e4;

  void bind(Flags& flags) {
    flags.add("results", results, "folder of train's .json").required();
    flags
        .add(
            "output", output,
            "prefix of .md, .csv, -runs.csv, -differences.csv, .h5 and .png; with ID-Align on other schemes -interactions.csv; under several thetas -gain.csv and -gain.png; of compressed pictures -compression.csv and -compression.png; of runs with --gaze-pictures -gaze.csv and -gaze.png")
        .required();
    flags.add("baseline", baseline, "scheme that all without ID-Align are compared with, too");
    bind_theta(flags, theta, "of the curves");
  }
};

int table(const TableFlags& flags) {
  const fs::path results = flags.results;
  const std::string& prefix = flags.output;
  const std::vector<fs::path> files = result_files(results);
  if (files.empty()) throw InputError("{}: expected results of runs, found none", results.string());
  std::vector<Run> runs;
  Provenance provenance;
  provenance.command = "ropescope-miniature table";
  for (const fs::path& file : files) {
    runs.push_back(parse_run(read_json_file(file), file.string()));
    provenance.add_input(file);
  }
  const std::vector<Row> rows =
      make_rows(runs, {"vanilla", "id-align", "id-align:newline=in_place", "id-align:resize=bilinear",
                       "v2pe:delta=0.5", "id-align+v2pe:delta=0.5", "mrope", "id-align+mrope",
                       "mrope-interleave", "id-align+mrope-interleave", "dipe"});
  const std::vector<Comparison> comparisons = compare_rows(rows, flags.baseline);
  const std::string pairs = comparison_table(rows, comparisons);
  const std::vector<GainCurve> gains = gain_curves(rows, comparisons);
  const std::vector<Interaction> together = interactions(rows, comparisons);
  const std::string additive = interaction_table(rows, comparisons, together);
  const std::string markdown = markdown_table(rows) + (pairs.empty() ? "" : "\n" + pairs) +
                               (additive.empty() ? "" : "\n" + additive) +
                               (gains.empty() ? "" : "\n" + gain_table(gains)) +
                               (has_compression(rows) ? "\n" + compression_table(rows) : "") +
                               (has_gaze(rows) ? "\n" + gaze_table(rows) : "");
  write_whole(prefix + ".md", markdown);
  write_whole(prefix + ".csv", csv_table(rows));
  write_whole(prefix + "-runs.csv", runs_csv(rows));
  write_whole(prefix + "-differences.csv", comparison_csv(rows, comparisons));
  if (!together.empty())
    write_whole(prefix + "-interactions.csv", interaction_csv(rows, comparisons, together));
  write_rows(prefix + ".h5", rows, provenance, [&](ResultWriter& writer) { write_gain(writer, gains); });
  draw_rows(prefix + ".png", rows, flags.theta);
  if (!gains.empty()) {
    write_whole(prefix + "-gain.csv", gain_csv(gains));
    draw_gain(prefix + "-gain.png", gains);
  }
  if (has_compression(rows)) {
    write_whole(prefix + "-compression.csv", compression_csv(rows));
    draw_compression(prefix + "-compression.png", rows, flags.theta);
  }
  if (has_gaze(rows)) {
    write_whole(prefix + "-gaze.csv", gaze_csv(rows));
    draw_gaze(prefix + "-gaze.png", rows, flags.theta);
  }
  std::cout << markdown;
  return 0;
}

}  // namespace

Step table_step() { return make_step("table", "what the runs say together", table); }

}  // namespace ropescope::miniature
