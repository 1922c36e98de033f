// The rows of one table of the papers, with what the runs measured.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ropescope/eval/report.h"

namespace ropescope::eval {

/// "001:1".
std::string table_name(const Json& table);

/// `paper`: data/paper_tables.json, `table` one of its tables.
std::vector<ReportRow> table_rows(const Json& paper, const Json& table, const std::vector<ResultRun>& runs,
                                  uint64_t seed);

/// What has to be said of a table as a whole.
std::vector<std::string> table_notes(const Json& paper, const Json& table);

/// Questions of a benchmark's published split, as its description says; none where it does not.
std::optional<int64_t> published_questions(const Benchmark& benchmark);

}  // namespace ropescope::eval
