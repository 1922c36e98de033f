// ropescope-miniature fading: what runs say together that were asked behind distractors.
#include <filesystem>
#include <iostream>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

#include "miniature/fading_table.h"
#include "step.h"

namespace ropescope::miniature {

namespace {

namespace fs = std::filesystem;
using app::Flags;

struct FadingFlags {
  std::string results, output;
  std::string baseline = "id-align";

  void bind(Flags& flags) {
    flags.add("results", results, "folder of .json that train --measure-lengths wrote").required();
    flags
        .add("output", output,
             "prefix of .md, .csv, -runs.csv, -differences.csv, -crossings.csv, .h5 and .png")
        .required();
    flags.add("baseline", baseline, "scheme that all others are compared with; each dipe+X is with X, too");
  }
};

int fading(const FadingFlags& flags) {
  const fs::path results = flags.results;
  const std::string& prefix = flags.output;
  std::vector<FadingRun> runs;
  Provenance provenance;
  provenance.command = "ropescope-miniature fading";
  for (const fs::path& file : result_files(results)) {
    std::optional<FadingRun> run = parse_fading_run(read_json_file(file), file.string());
    if (!run) continue;
    runs.push_back(std::move(*run));
    provenance.add_input(file);
  }
  if (runs.empty()) {
    throw InputError(
        "{}: expected results of runs that were asked behind distractors, found none. Try: ropescope-miniature train "
        "--measure-lengths 0,64,256 ...",
        results.string());
  }
  const FadingTable table = make_fading_table(
      runs, {"vanilla", "dipe+vanilla", "id-align", "dipe+id-align+vanilla", "mrope-interleave",
             "dipe+mrope-interleave", "id-align+mrope-interleave", "dipe+id-align+mrope-interleave", "dipe"});
  const std::vector<FadingComparison> comparisons = compare_fading(table, flags.baseline);
  const std::string markdown = fading_markdown(table, comparisons);
  write_whole(prefix + ".md", markdown);
  write_whole(prefix + ".csv", fading_csv(table));
  write_whole(prefix + "-runs.csv", fading_runs_csv(table));
  write_whole(prefix + "-differences.csv", fading_differences_csv(table, comparisons));
  write_whole(prefix + "-crossings.csv", fading_crossings_csv(table, comparisons));
  write_fading(prefix + ".h5", table, provenance);
  draw_fading(prefix + ".png", table);
  std::cout << markdown;
  return 0;
}

}  // namespace

Step fading_step() {
  return make_step("fading", "what runs say together that were asked behind distractors", fading);
}

}  // namespace ropescope::miniature
