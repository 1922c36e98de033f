// ropescope score --check: what of a benchmark's file can be asked, and why the rest cannot.
#pragma once

#include <string>

#include "ropescope/core/json.h"
#include "ropescope/eval/benchmark.h"

namespace ropescope::app::score {

/// One line of JSON on stdout.
void print_line(const Json& object);

/// Both print {"items", "rejected": [{"record", "error"}], "n_circular_groups"} with `json`, else counts and
/// reasons; the pictures are decoded. Return the exit code.
/// Throws InputError, after printing, for a file that is broken as a whole (`file_error`, `column`).
int check_mmbench(const std::string& path, bool json);
/// The items are the records in the benchmark's own columns, `n_questions` of them.
int check_records(const std::string& path, const eval::Benchmark& benchmark, const eval::Rules& rules,
                  bool json);

}  // namespace ropescope::app::score
