// What `trace` was asked to show, and the /trace group of its result file.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/io/result_file.h"

namespace ropescope::app::trace {

/// Names for --dump, in the order of the help text.
const std::vector<std::string>& trace_dump_names();
/// "logits,hidden". Throws UsageError with the nearest name.
std::set<std::string> parse_dump(const std::string& text);

/// Writes /trace/<name> and remembers name and shape for the report.
class TraceOutput {
 public:
  TraceOutput(const std::string& path, const Provenance& provenance, bool force);

  /// Throws NumericsError if a value is not finite.
  void write(const std::string& name, const at::Tensor& tensor);
  void attribute(const std::string& name, const Attribute& value);
  /// Completes the file and prints the report: a table, or with `json`, `csv` those. `generated` may be
  /// undefined, `generated_text` empty.
  void finish(bool json, bool csv, const at::Tensor& generated,
              const std::vector<std::string>& generated_text);

 private:
  std::string path_;
  ResultWriter writer_;
  std::vector<std::pair<std::string, std::vector<int64_t>>> datasets_;
};

}  // namespace ropescope::app::trace
