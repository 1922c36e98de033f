// ropescope audit: are recorded position ids those of the model's own rule?
#include <fmt/format.h>

#include "audit/audit_input.h"
#include "audit/audit_report.h"
#include "command.h"

namespace ropescope::app {

namespace audit {

namespace {

int run(const AuditFlags& flags, const Invocation& invocation) {
  if (flags.list) {
    list_mistakes(invocation.settings.json);
    return 0;
  }
  const AuditInput input = read_audit_input(flags);
  Verdict verdict;
  verdict.ids = audit_ids(input.prompt, input.record);
  if (input.tables) verdict.tables = check_tables(input.config, input.record.ids, *input.tables);
  if (invocation.settings.json) {
    fmt::print("{}\n", verdict_json(input, verdict).dump());
  } else {
    print_verdict(input, verdict);
  }
  return verdict.equal() ? 0 : 1;
}

}  // namespace

}  // namespace audit

extern const Command kAudit;
const Command kAudit = make_command<audit::AuditFlags>(
    "audit", "Checks recorded position ids against a model's own rule, and names the mistake they look like.",
    "ropescope audit --model Qwen2.5-VL-7B-Instruct --ids position_ids.npy --input-ids inputs.safetensors --grid 1x24x36",
    kJson, audit::run);

}  // namespace ropescope::app
