// MMBench files in VLMEvalKit's form: tab separated, pictures in base64 or as the index of another row. Files
// are untrusted: one bad record never stops the rest, and each is rejected with its reason.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope::eval {

/// Why a record is rejected, in the order of the tests.
///   field_count           another number of fields than the header
///   bad_index             no integer
///   duplicate_index       an earlier record has it
///   missing_question      empty
///   too_few_options       fewer than two
///   bad_answer            not the letter of a present option; empty where split is not `test`
///   missing_image         empty
///   bad_base64            wrong alphabet or padding
///   bad_image             does not decode fully
///   dangling_image_ref    the row referred to is absent, rejected, or itself a reference
struct RejectedRecord {
  int64_t record = 0;  ///< from 1, the header not counted
  std::string error;
};

struct MmbenchCheck {
  std::vector<Json> items;  ///< accepted records, in the order of the file
  std::vector<RejectedRecord> rejected;
  int64_t circular_groups = 0;  ///< questions: accepted main rows
  /// "unclosed_quote" (records before it are kept) or "missing_column"; empty for none.
  std::string file_error;
  std::string missing_column;
};

/// Reads and decodes everything. Only texts and picture statistics are kept. Throws InputError if the file
/// cannot be read at all.
MmbenchCheck check_mmbench_file(const std::filesystem::path& path);

}  // namespace ropescope::eval
