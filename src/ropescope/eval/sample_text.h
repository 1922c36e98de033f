// What of a record is shown to people.
#pragma once

#include <string>

#include "ropescope/core/json.h"

namespace ropescope::eval {

/// A text as it is, anything else as JSON.
std::string json_text(const Json& value);

/// The expected answer of a record: the text, several annotators' answers each once ("no ×3, yes ×7"), the
/// option that is named by its number behind it, or the box; empty if there is none.
std::string gold_text(const Json& doc);

}  // namespace ropescope::eval
