// What a run of ropescope evaluate came to: summary.json, result.h5 and the words on stdout.
#pragma once

#include <cstdint>
#include <optional>

#include "ropescope/io/result_file.h"

#include "command.h"
#include "evaluate/evaluate_fading.h"
#include "evaluate/evaluate_run.h"

namespace ropescope::app::evaluate {

/// What this call of the command did.
struct Asked {
  int64_t questions = 0;
  double seconds = 0;
};

/// Scores samples.jsonl and writes the rest. `run_settings` are those of run.json; all of them stand in summary.json
/// too, with n (the units that count on their own), the 95 % interval in percent, failed and unreadable answers.
/// Throws InputError, after writing, where no question was answered.
void report_run(const EvaluateRun& run, const std::optional<LongContext>& context, const Json& run_settings,
                const Asked& asked, const Provenance& provenance, const CommonSettings& settings);

}  // namespace ropescope::app::evaluate
