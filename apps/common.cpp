#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/core/strings.h"
#include "ropescope/rope/scheme.h"

#include "command.h"

namespace ropescope::app {

namespace {

// Far more than any machine has cores; beyond a few thousand the runtime of OpenMP runs out of stacks.
constexpr double kMostThreads = 1024;

void bind_common(Flags& flags, CommonFlags& common, unsigned use) {
  const auto group = [&flags](bool shown) { flags.group("Common", shown); };
  group((use & kRunsModel) != 0);
  flags.add("device", common.device, "cpu, cuda or cuda:N");
  group((use & (kRunsModel | kDtype)) != 0);
  flags.add(
      "dtype", common.dtype,
      "auto, float32, bfloat16 or float16; unless given float32 on a CPU, auto on CUDA; auto is bfloat16 where the device has units for it, else float32");
  group((use & kStreams) != 0);
  flags
      .add(
          "weights", common.weights,
          "resident (all in memory), streamed (read from the file as they are needed, one layer in memory: the same numbers) or auto: streamed where memory has no room for them, and on a CPU where texts are given that pass each layer once (sample, decay)")
      .one_of({"auto", "resident", "streamed"});
  group((use & (kRunsModel | kThreads)) != 0);
  flags.add("threads", common.threads, "threads; 0: all cores").between(0, kMostThreads);
  group((use & kDraws) != 0);
  flags.add("seed", common.seed, "seed of every random choice");
  group((use & kWrites) != 0);
  flags.add("force", common.force, "overwrite output files");
  group((use & kJson) != 0);
  flags.add("json", common.json, "JSON on stdout instead of a table");
  group((use & kCsv) != 0);
  flags.add("csv", common.csv, "CSV on stdout instead of a table");
  group(true);
  flags.add("quiet", common.quiet, "no progress or information on stderr");
  flags.add("config", common.config, "file of `flag = value` lines; flags given here win");
  flags.add("help", common.help, "this text");
}

}  // namespace

BoundCommand bind_command(const Command& command, Flags& flags, CommonFlags& common) {
  BoundCommand bound = command.bind(flags);
  bind_common(flags, common, command.common);
  return bound;
}

CommonSettings common_settings(const CommonFlags& flags) {
  set_quiet(flags.quiet);
  set_threads(static_cast<int>(flags.threads));
  if (flags.json && flags.csv) throw UsageError("--json and --csv: expected at most one of the two");
  CommonSettings settings;
  settings.device = parse_device(flags.device);
  // Measurements on a CPU are float32 unless asked otherwise: bfloat16 logits are good to two digits only.
  const std::string unless_given = settings.device.is_cpu() ? "float32" : "auto";
  settings.dtype = parse_dtype(flags.dtype.value_or(unless_given), settings.device);
  settings.weights = flags.weights == "streamed"   ? WeightMode::kStreamed
                     : flags.weights == "resident" ? WeightMode::kResident
                                                   : WeightMode::kAuto;
  settings.seed = flags.seed;
  settings.force = flags.force;
  settings.json = flags.json;
  settings.csv = flags.csv;
  return settings;
}

Provenance Invocation::provenance() const {
  Provenance record;
  record.command = command_line;
  record.device = settings.device.str();
  record.dtype = dtype_name(settings.dtype);
  record.seed = settings.seed;
  const Json values = flags.values();
  for (const char* flag : {"scheme", "schemes"}) {
    const Json text = values.value(flag, Json());
    if (!text.is_string() || !contains(text.get<std::string>(), "weights=")) continue;
    for (const std::string& scheme : split_scheme_list(text.get<std::string>())) {
      for (const std::string& file : Scheme(scheme).files()) record.add_input(file);
    }
  }
  return record;
}

}  // namespace ropescope::app
