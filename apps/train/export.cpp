// ropescope export: a checkpoint as a folder that Hugging Face transformers loads.
#include "ropescope/train/export.h"

#include <iostream>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

#include "command.h"

namespace ropescope::app {

namespace exporting {

namespace {

struct ExportFlags {
  std::string checkpoint, output;

  void bind(Flags& flags) {
    flags.group("Export");
    flags
        .add("checkpoint", checkpoint,
             "folder of a step (run/checkpoints/step-N), of a run (its newest step), or any model folder")
        .required();
    flags.add("output", output, "folder to make").required();
  }
};

int run(const ExportFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  if (settings.csv) throw UsageError("--csv: export writes a model, not a table");
  // Numbers are kept as trained unless asked otherwise, whatever this machine computes fastest in.
  const at::ScalarType dtype = invocation.common.dtype ? settings.dtype : at::kFloat;
  const ExportSummary summary = export_model(flags.checkpoint, flags.output, dtype, settings.force);
  if (settings.json) {
    std::cout << Json{{"output", flags.output},
                      {"form", summary.form},
                      {"step", summary.step < 0 ? Json() : Json(summary.step)},
                      {"tensors", summary.tensors},
                      {"parameters", summary.parameters},
                      {"added_rows", summary.added_rows}}
                     .dump()
              << "\n";
  } else {
    std::cout << fmt::format("{}: {}, {} tensors, {} parameters\n", flags.output, summary.form,
                             summary.tensors, summary.parameters);
  }
  return 0;
}

}  // namespace

}  // namespace exporting

extern const Command kExport;
const Command kExport = make_command<exporting::ExportFlags>(
    "export", "Writes a checkpoint as a folder that Hugging Face transformers loads.",
    "ropescope export --checkpoint run --output model", kDtype | kWrites | kJson, exporting::run);

}  // namespace ropescope::app
