// The flags --layout and --layout-file of commands that take one layout.
#pragma once

#include <optional>

#include "ropescope/rope/layout.h"

#include "command.h"

namespace ropescope::app {

/// None without either flag. Throws UsageError for both, InputError for a file that does not hold one layout.
std::optional<Layout> given_layout(const Arguments& arguments);

}  // namespace ropescope::app
