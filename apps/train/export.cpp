// ropescope export: a checkpoint as a folder that Hugging Face transformers loads.
#include "ropescope/train/export.h"

#include <filesystem>
#include <iostream>
#include <optional>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

#include "command.h"
#include "inputs/loaded_model.h"

namespace ropescope::app {

namespace exporting {

namespace {

struct ExportFlags {
  std::string checkpoint, output;
  std::optional<std::string> adapter;

  void bind(Flags& flags) {
    flags.group("Export");
    flags
        .add(
            "checkpoint", checkpoint,
            "folder of a step (run/checkpoints/step-N), of a run (its newest step), or any model; a run of adapters knows its model")
        .required();
    flags.add(
        "adapter", adapter,
        "low-rank adapters for it, which go into its matrices: a step or run with --lora, or a folder of PEFT's");
    flags.add("output", output, "folder to make").required();
  }
};

/// Throws InputError where adapters of ours were trained beside other files than those of the model.
void check_model_of(const ExportSource& source) {
  if (!source.adapter) return;
  std::error_code ignored;
  const std::filesystem::path file = *source.adapter / "state.json";
  if (!std::filesystem::is_regular_file(file, ignored)) return;
  const Json state = read_json_file(file);
  const Json* config = json_find(state, "config");
  const Json* then = config == nullptr ? nullptr : json_find(*config, "model_files");
  if (then == nullptr || *then == model_digests(source.model)) return;
  throw InputError(
      "{}: its adapters were trained beside other files than those of {}, as their SHA-256 say. Try: --checkpoint with the "
      "model that they were trained on",
      source.adapter->string(), source.model.string());
}

int run(const ExportFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  if (settings.csv) throw UsageError("--csv: export writes a model, not a table");
  // Numbers are kept as trained unless asked otherwise, whatever this machine computes fastest in.
  const at::ScalarType dtype = invocation.common.dtype ? settings.dtype : at::kFloat;
  const ExportSource source = find_export_source(flags.checkpoint, flags.adapter.value_or(""));
  check_model_of(source);
  const ExportSummary summary = export_model(source, flags.output, dtype, settings.force);
  if (settings.json) {
    std::cout << Json{{"output", flags.output},
                      {"form", summary.form},
                      {"step", summary.step < 0 ? Json() : Json(summary.step)},
                      {"tensors", summary.tensors},
                      {"parameters", summary.parameters},
                      {"added_rows", summary.added_rows},
                      {"adapted", summary.adapted}}
                     .dump()
              << "\n";
  } else {
    const std::string adapted =
        summary.adapted > 0 ? fmt::format(", {} matrices with adapters", summary.adapted) : "";
    std::cout << fmt::format("{}: {}, {} tensors, {} parameters{}\n", flags.output, summary.form,
                             summary.tensors, summary.parameters, adapted);
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
