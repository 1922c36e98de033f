// What `ropescope audit` prints.
#pragma once

#include <optional>

#include "ropescope/audit/audit.h"
#include "ropescope/audit/table_check.h"

#include "audit/audit_input.h"

namespace ropescope::app::audit {

struct Verdict {
  AuditReport ids;
  std::optional<TableReport> tables;
  bool equal() const { return ids.equal() && (!tables || tables->equal); }
};

Json verdict_json(const AuditInput& input, const Verdict& verdict);
/// For people: the verdict, a few tokens around the first difference, what it looks like.
void print_verdict(const AuditInput& input, const Verdict& verdict);

/// --list: the known mistakes, one a paragraph or as JSON.
void list_mistakes(bool json);

}  // namespace ropescope::app::audit
