#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

#include "command.h"

namespace ropescope::app {

CommonSettings common_settings(const CommonFlags& flags) {
  set_quiet(flags.quiet);
  set_threads(static_cast<int>(flags.threads));
  if (flags.json && flags.csv) throw UsageError("--json and --csv: expected at most one of the two");
  CommonSettings settings;
  settings.device = parse_device(flags.device);
  // Measurements on a CPU are float32 unless asked otherwise: bfloat16 logits are good to two digits only.
  const std::string unless_given = settings.device.is_cpu() ? "float32" : "auto";
  settings.dtype = parse_dtype(flags.dtype.value_or(unless_given), settings.device);
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
  return record;
}

}  // namespace ropescope::app
