// Warnings about files that are read more than once in a run.
#pragma once

#include <string>

namespace ropescope {

/// Logs a warning unless the same was logged before. From any thread.
void warn_once(const std::string& message);

}  // namespace ropescope
