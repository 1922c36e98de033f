// ropescope export: a checkpoint as a folder that Hugging Face transformers loads.
#include "ropescope/train/export.h"

#include <iostream>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

#include "command.h"

namespace ropescope::app {

namespace {

std::vector<po::options_description> options() {
  po::options_description all("Export", 110, 55);
  all.add_options()  //
      ("checkpoint", po::value<std::string>(),
       "folder of a step (run/checkpoints/step-N), of a run (its newest step), or any model folder")  //
      ("output", po::value<std::string>(), "folder to make");
  return {all};
}

int run(const Arguments& arguments) {
  const CommonSettings common = common_settings(arguments);
  if (common.csv) throw UsageError("--csv: export writes a model, not a table");
  const std::string checkpoint = required_text(arguments, "checkpoint"),
                    output = required_text(arguments, "output");
  // Numbers are kept as trained unless asked otherwise, whatever this machine computes fastest in.
  const at::ScalarType dtype = arguments.has("dtype") ? common.dtype : at::kFloat;
  const ExportSummary summary = export_model(checkpoint, output, dtype, common.force);
  if (common.json) {
    std::cout << Json{{"output", output},
                      {"form", summary.form},
                      {"step", summary.step < 0 ? Json() : Json(summary.step)},
                      {"tensors", summary.tensors},
                      {"parameters", summary.parameters},
                      {"added_rows", summary.added_rows}}
                     .dump()
              << "\n";
  } else {
    std::cout << fmt::format("{}: {}, {} tensors, {} parameters\n", output, summary.form, summary.tensors,
                             summary.parameters);
  }
  return 0;
}

}  // namespace

extern const Command kExport;
const Command kExport = {"export", "Writes a checkpoint as a folder that Hugging Face transformers loads.",
                         "ropescope export --checkpoint run/ --output model/", options, run};

}  // namespace ropescope::app
