// ropescope inspect: what a checkpoint holds, without running it.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <sstream>

#include <fmt/format.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/gguf_names.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/weights/gguf.h"

#include "command.h"
#include "inputs/model_folder.h"
#include "inspect/inspect_layers.h"
#include "inspect/inspect_report.h"

namespace ropescope::app {

namespace inspect {

namespace fs = std::filesystem;

namespace {

struct InspectFlags {
  std::string model;
  bool list = false, estimate = false;
  int64_t estimate_tokens = 4096;
  std::optional<std::string> tensors;
  std::string output;

  void bind(Flags& flags) {
    flags.group("Checkpoint");
    flags.add("model", model, "folder, or one weight file; config.json is not needed")
        .stands_for(opened_model)
        .required();
    flags
        .add(
            "list", list,
            "also list every tensor with its stored type and shape; without --model: the families of decoders that can be read")
        .suffices();
    flags.add("estimate", estimate, "also estimate the memory of a run in --dtype");
    flags.add("estimate-tokens", estimate_tokens, "tokens of that run's forward pass").at_least(1);
    flags.add("tensors", tensors, "all, or NAME,...: tensors to write to --output");
    flags.add("output", output, "result file with /tensors/<name> in float32");
  }
};

/// The file that a GGUF checkpoint is read from.
std::optional<fs::path> gguf_file_of(const Checkpoint& checkpoint) {
  if (checkpoint.container() != "gguf" || checkpoint.files().empty()) return std::nullopt;
  return checkpoint.files().front();
}

/// A checkpoint without (or with a foreign) config is described by its tensors; a broken config.json is an error.
void read_config(InspectReport& report, const fs::path& model, const std::optional<fs::path>& gguf) {
  const fs::path folder = fs::is_directory(model) ? model : fs::absolute(model).parent_path();
  const bool has_json = fs::exists(folder / "config.json");
  try {
    if (fs::is_directory(model) && has_json) {
      report.config = read_decoder_config(model);
    } else if (gguf) {
      report.config = read_decoder_config(*gguf);
    } else if (has_json) {
      report.config = read_decoder_config(folder);
    } else {
      report.no_config = "there is no config.json";
    }
  } catch (const UnsupportedModel& error) {
    report.no_config = error.what();
  } catch (const InputError& error) {
    if (!gguf) throw;  // a GGUF file may hold tensors of anything
    report.no_config = error.what();
  }
}

/// What the tensors make of the configuration's tie.
void read_output(InspectReport& report) {
  if (!report.config) return;
  const auto part = decoder_part(*report.checkpoint);
  bool& tied = report.config->tie_word_embeddings;
  report.output = output_matrix(part ? *part : *report.checkpoint, tied);
  report.tie_not_followed = tied && report.output == OutputMatrix::kOwn;
  if (report.tie_not_followed) tied = false;
}

/// Whether GGUF files of the family hold rotated pairs side by side where its own form has halves.
bool puts_rows_back(const DecoderConfig& config) {
  const std::vector<GgufNames>& forms = architecture_of(config).gguf;
  return std::any_of(forms.begin(), forms.end(),
                     [](const GgufNames& names) { return names.role == gguf_llama_role; });
}

TokenizerReport read_tokenizer(const fs::path& model, const std::optional<fs::path>& gguf) {
  TokenizerReport report;
  fs::path source = fs::is_directory(model) ? model : fs::absolute(model).parent_path();
  const auto has = [&](const char* name) { return fs::exists(source / name); };
  const bool files =
      has("tokenizer.json") || has("tokenizer.model") || (has("vocab.json") && has("merges.txt"));
  if (gguf && !(files && fs::is_directory(model))) {
    if (read_gguf_metadata(*gguf).count("tokenizer.ggml.tokens") == 0) return report;
    source = *gguf;
  } else if (!files) {
    return report;
  }
  try {
    const auto tokenizer = load_tokenizer(source);
    report.description = tokenizer->description();
    report.vocab_size = tokenizer->vocab_size();
  } catch (const InputError& error) {
    report.error = error.what();
  }
  return report;
}

std::vector<std::string> chosen_tensors(const Checkpoint& checkpoint, const std::string& wanted) {
  std::vector<std::string> names;
  if (wanted == "all") {
    for (const TensorInfo& info : checkpoint.tensors()) names.push_back(info.name);
    return names;
  }
  std::stringstream stream(wanted);
  for (std::string name; std::getline(stream, name, ',');) {
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  if (names.empty()) throw UsageError("--tensors: expected all or names, found \"{}\"", wanted);
  return names;
}

void write_tensors(const std::vector<std::string>& names, const std::string& output,
                   const Invocation& invocation, const Checkpoint& checkpoint) {
  const auto start = std::chrono::steady_clock::now();
  Provenance provenance = invocation.provenance();
  provenance.device = "cpu";
  provenance.dtype = "float32";
  for (const fs::path& path : checkpoint.files()) provenance.add_input(path);
  ResultWriter writer(output, provenance, invocation.settings.force);
  Progress progress("writing", "tensors", static_cast<int64_t>(names.size()));
  for (const std::string& name : names) {
    writer.write("/tensors/" + name, checkpoint.take(name, at::kFloat));
    writer.attribute("/tensors/" + name, "stored_dtype", checkpoint.find(name)->dtype);
    progress.advance();
  }
  progress.finish();
  const uint64_t bytes = writer.commit();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  log_info("{} tensors, {} bytes written to {} in {:.1f} s", names.size(), bytes, output, seconds);
}

int run(const InspectFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  if (flags.model.empty()) {
    if (settings.csv) throw UsageError("--csv: expected no such flag beside --list without --model");
    list_architectures(settings.json);
    return 0;
  }
  const fs::path model = flags.model;
  if (!flags.output.empty() && !flags.tensors) {
    throw UsageError("--output: expected --tensors all or --tensors NAME,... beside it");
  }
  const auto checkpoint = open_checkpoint(model);
  const std::optional<fs::path> gguf = gguf_file_of(*checkpoint);
  InspectReport report;
  report.model = model.string();
  report.checkpoint = checkpoint.get();
  read_config(report, model, gguf);
  read_output(report);
  if (!gguf) {
    report.vision = read_vision_report(fs::is_directory(model) ? model : fs::absolute(model).parent_path());
  }
  report.rows_put_back = gguf && report.config && puts_rows_back(*report.config);
  report.tokenizer = read_tokenizer(model, gguf);
  report.scheme = tagged_scheme(model);
  std::optional<EstimateRequest> estimate;
  if (flags.estimate) estimate = EstimateRequest{settings.dtype, flags.estimate_tokens};

  if (flags.tensors) {
    const std::string& output = required_text(flags.output, "output");
    write_tensors(chosen_tensors(*checkpoint, *flags.tensors), output, invocation, *checkpoint);
  }
  if (settings.json) {
    // Names come from files and need not be UTF-8.
    fmt::print("{}\n", report_json(report, estimate).dump(-1, ' ', false, Json::error_handler_t::replace));
  } else if (settings.csv) {
    print_tensor_csv(*checkpoint);
  } else {
    print_report(report, estimate);
    if (flags.list) print_tensor_list(*checkpoint);
  }
  return 0;
}

}  // namespace

}  // namespace inspect

extern const Command kInspect;
const Command kInspect = make_command<inspect::InspectFlags>(
    "inspect", "Describes a checkpoint: architecture, rotary settings, tensors, tokenizer, memory.",
    "ropescope inspect --model SmolLM2.gguf --estimate", kDtype | kThreads | kWrites | kTables, inspect::run);

}  // namespace ropescope::app
