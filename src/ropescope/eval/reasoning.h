// Blocks of reasoning in an answer, which the harness takes out before it scores (lmms-eval 0.7.3; not that
// of May 2025).
#pragma once

#include <optional>
#include <string>

#include "ropescope/eval/benchmark.h"

namespace ropescope::eval {

/// The output without `<think>…</think>` and `<analysis>…</analysis>`, stripped; as it is where it has no
/// such block. An opening mark without its end stays, and so does an end without its beginning.
std::string without_reasoning(const std::string& output);

/// What of an output is scored: without reasoning under the profile `current`, else as it is.
std::string scored_text(const std::string& output, const Rules& rules);

/// What the benchmark reads from an output; `reply` is a judge's, for answers that its rules leave undecided.
Reading read_answer(const Benchmark& benchmark, const Json& doc, const std::string& output,
                    const Rules& rules, const std::optional<std::string>& reply = std::nullopt);

}  // namespace ropescope::eval
