// What `ropescope audit` is given: a model's folder, recorded ids, and the prompt that they belong to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/audit/audit.h"
#include "ropescope/audit/table_check.h"
#include "ropescope/io/result_file.h"

#include "flags.h"

namespace ropescope::app::audit {

struct AuditFlags {
  std::string model, ids;
  std::optional<std::string> input_ids, tables;
  std::vector<std::string> grid;
  std::vector<double> second_per_grid;
  std::vector<int64_t> segments;
  std::optional<double> source_fps;
  std::optional<int64_t> first;
  bool list = false;

  void bind(Flags& flags);
};

struct AuditInput {
  DecoderConfig config;
  AuditedPrompt prompt;
  IdRecord record;
  std::optional<RecordedTables> tables;
  Provenance files;  ///< inputs only
};

/// Throws UsageError naming the flag that is missing, InputError for files that do not fit together.
AuditInput read_audit_input(const AuditFlags& flags);

}  // namespace ropescope::app::audit
